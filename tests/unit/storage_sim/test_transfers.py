"""Uploads and reads: what they do, refuse and tell."""

from __future__ import annotations

import errno
import hashlib
from typing import TYPE_CHECKING

from pipeline.authz.principal import Principal, Restrictions
from storage_sim.billing import Origin
from storage_sim.core import SYSTEM
from storage_sim.errors import OperationFailed
from tests.unit.storage_sim import history
from tests.unit.storage_sim.history import kinds, refused

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from schemas.records import BillingRecord
    from storage_sim.inodes import Inode
    from storage_sim.storage import Storage

    Told = Callable[[], list[BillingRecord]]


def test_an_upload_is_told_when_it_begins_and_when_it_ends(
    storage: Storage, told: Told, alice: Principal
) -> None:
    """CREATE is there while the bytes still come; UPLOAD has size, checksums and client."""
    upload = storage.upload(alice, "/data/f", Origin("192.0.2.7", "webdav", "http"))
    (created,) = told()
    assert (created["kind"], created["locality"], created["size_bytes"]) == ("CREATE", "NONE", 0)
    upload.write(b"wiki")
    upload.write(b"pedia")
    upload.commit()
    (record,) = told()
    assert record["kind"] == "UPLOAD"
    assert record["attribute"] == "new"
    assert record["size_bytes"] == record["transferred_bytes"] == 9
    assert record["status_code"] == 0
    assert record["locality"] == "ONLINE"
    assert (record["client"], record["door"], record["protocol"]) == (
        "192.0.2.7",
        "webdav",
        "http",
    )
    assert storage.read(alice, "/data/f") == b"wikipedia"


def test_checksums_are_those_of_the_content(storage: Storage, alice: Principal) -> None:
    """adler32, md5 and sha256 are known when the upload ends."""
    data = b"Wikipedia"
    assert storage.write(alice, "/data/f", data).checksums.split() == [
        "adler32:11e60398",
        f"md5:{hashlib.md5(data).hexdigest()}",
        f"sha256:{hashlib.sha256(data).hexdigest()}",
    ]


def test_a_failed_upload_of_a_new_file_leaves_nothing(
    storage: Storage, told: Told, alice: Principal
) -> None:
    """UPLOAD with its status, then DELETE; the name is free and the bytes are gone."""
    upload = storage.upload(alice, "/data/f")
    upload.write(b"half of")
    upload.abort(errno.ECONNABORTED, "the client went away")
    created, failed, deleted = told()
    assert (created["kind"], failed["kind"], deleted["kind"]) == ("CREATE", "UPLOAD", "DELETE")
    assert failed["status_code"] == errno.ECONNABORTED
    assert failed["status_message"] == "the client went away"
    assert failed["transferred_bytes"] == 7
    with refused(errno.ENOENT):
        storage.stat(alice, "/data/f")


def test_a_failed_upload_over_a_file_leaves_the_old_content(
    storage: Storage, told: Told, alice: Principal
) -> None:
    """The old file stays as it was, with its inode; there is no DELETE."""
    before = storage.write(alice, "/data/f", b"old")
    told()
    with refused(errno.EBADF), storage.upload(alice, "/data/f") as upload:
        upload.write(b"new")
        raise OperationFailed(errno.EBADF)
    assert [(r["kind"], r["status_code"]) for r in told()] == [("UPLOAD", errno.EBADF)]
    assert storage.read(alice, "/data/f") == b"old"
    assert storage.stat(alice, "/data/f").found.id == before.id


def test_overwriting_keeps_the_inode(storage: Storage, told: Told, alice: Principal) -> None:
    """An upload over a file is one record that says so."""
    before = storage.write(alice, "/data/f", b"old")
    told()
    after = storage.write(alice, "/data/f", b"newer")
    assert after.id == before.id
    assert [(r["kind"], r["attribute"]) for r in told()] == [("UPLOAD", "overwrite")]


def test_append_and_truncate(storage: Storage, told: Told, alice: Principal) -> None:
    """Appending is an upload of the new bytes; truncating is a change of size."""
    storage.write(alice, "/data/f", b"0123")
    told()
    storage.write(alice, "/data/f", b"45", append=True)
    assert storage.read(alice, "/data/f") == b"012345"
    storage.truncate(alice, "/data/f", 3)
    assert storage.read(alice, "/data/f") == b"012"
    storage.truncate(alice, "/data/f", 5)
    assert storage.read(alice, "/data/f") == b"012\0\0"
    found = [r for r in told() if r["kind"] != "READ"]
    assert [
        (r["kind"], r["attribute"], r["transferred_bytes"], r["size_bytes"]) for r in found
    ] == [
        ("UPLOAD", "append", 2, 6),
        ("SETATTR", "size", None, 3),
        ("SETATTR", "size", None, 5),
    ]


def test_an_upload_whose_file_is_deleted_meanwhile_fails(
    storage: Storage, told: Told, alice: Principal
) -> None:
    """The file stays deleted, and no record speaks of an inode that is no more."""
    upload = storage.upload(alice, "/data/f")
    storage.delete(alice, "/data/f")
    with refused(errno.ENOENT):
        upload.commit()
    assert kinds(told()) == ["CREATE", "DELETE"]


def test_an_upload_whose_file_is_renamed_meanwhile_ends_there(
    storage: Storage, told: Told, alice: Principal
) -> None:
    """An upload is of an inode, whatever it is called."""
    upload = storage.upload(alice, "/data/f")
    storage.rename(alice, "/data/f", "/data/g")
    upload.write(b"x")
    upload.commit()
    assert [(r["kind"], r["path"]) for r in told()] == [
        ("CREATE", "/data/f"),
        ("RENAME", "/data/g"),
        ("UPLOAD", "/data/g"),
    ]


def test_of_two_uploads_of_a_new_file_the_failing_one_does_not_take_the_other_along(
    storage: Storage, alice: Principal
) -> None:
    """A new file goes only when no upload is left that may still fill it."""
    first = storage.upload(alice, "/data/f")
    second = storage.upload(alice, "/data/f")
    first.abort(errno.EIO, "no")
    second.write(b"yes")
    second.commit()
    assert storage.read(alice, "/data/f") == b"yes"


def test_uploads_that_died_with_the_process_fail_at_the_next_start(
    tmp_path: Path, alice: Principal
) -> None:
    """Nobody waits for ever for the end of an upload that nobody makes any more."""
    storage = history.open_storage(tmp_path)
    storage.mkdir(SYSTEM, "/data", mode=0o777)
    storage.write(alice, "/data/old", b"old")
    for path in ("/data/new", "/data/old"):
        upload = storage.upload(alice, path, Origin("192.0.2.9", "webdav", "http"))
        upload.write(b"half")
    storage.close()
    storage = history.open_storage(tmp_path)
    before = len(history.records(storage))
    assert storage.recover() == 2
    new = history.records(storage)[before:]
    assert sorted((r["kind"], r["path"], r["client"], r["user"]) for r in new) == [
        ("DELETE", "/data/new", "192.0.2.9", "alice"),
        ("UPLOAD", "/data/new", "192.0.2.9", "alice"),
        ("UPLOAD", "/data/old", "192.0.2.9", "alice"),
    ]
    assert storage.read(alice, "/data/old") == b"old"
    storage.sweep()
    assert len([path for path in (tmp_path / "data").rglob("*") if path.is_file()]) == 1
    storage.close()


def test_contents_nobody_names_are_swept(
    storage: Storage, tmp_path: Path, alice: Principal
) -> None:
    """Overwritten and deleted bytes go; who reads them reads to the end."""
    storage.write(alice, "/data/f", b"one")
    reading = storage.open(alice, "/data/f")
    storage.write(alice, "/data/f", b"two")
    storage.write(alice, "/data/g", b"gone")
    storage.delete(alice, "/data/g")
    storage.sweep()
    assert len([path for path in (tmp_path / "data").rglob("*") if path.is_file()]) == 1
    assert reading.read() == b"one"
    reading.close()


def test_reading_is_told_with_what_was_read(
    storage: Storage, told: Told, alice: Principal
) -> None:
    """A READ has the bytes that went out, and says when they were fewer than meant."""
    storage.write(alice, "/data/f", b"0123456789")
    told()
    with storage.open(alice, "/data/f") as download:
        download.seek(5)
        assert download.read(2) == b"56"
    download = storage.open(alice, "/data/f")
    download.expected_bytes = 10
    download.read(4)
    download.close()
    whole, cut = told()
    assert (whole["kind"], whole["transferred_bytes"], whole["status_code"]) == ("READ", 2, 0)
    assert (cut["transferred_bytes"], cut["status_code"]) == (4, errno.ECONNABORTED)


def test_reads_and_listings_are_told_as_set(tmp_path: Path) -> None:
    """Both have a switch."""
    storage = history.open_storage(tmp_path, bill_reads=False, bill_listings=True)
    storage.write(SYSTEM, "/f", b"x")
    storage.read(SYSTEM, "/f")
    storage.listing(SYSTEM, "/")
    assert kinds(history.records(storage)) == ["CREATE", "UPLOAD", "LIST"]
    storage.close()


def test_the_largest_upload(tmp_path: Path) -> None:
    """The smaller of setting and token holds, and what is larger leaves nothing."""
    storage = history.open_storage(tmp_path, max_upload_bytes=10)
    storage.write(SYSTEM, "/f", 10 * b"x")
    with refused(errno.EFBIG):
        storage.write(SYSTEM, "/g", 11 * b"x")
    narrow = Principal("root", 0, (0,), restrictions=Restrictions(max_upload_bytes=3))
    with refused(errno.EFBIG):
        storage.write(narrow, "/g", b"four")
    assert [entry.name for entry in storage.listing(SYSTEM, "/")] == ["f"]
    storage.close()


def test_a_condition_holds_when_an_upload_begins_and_when_it_ends(
    storage: Storage, told: Told, alice: Principal
) -> None:
    """Else it leaves the file as somebody else has made it meanwhile."""
    old = storage.write(alice, "/data/f", b"old")
    told()

    def is_old(inode: Inode | None) -> bool:
        return inode is not None and inode.content == old.content

    upload = storage.upload(alice, "/data/f", only_if=is_old)
    upload.write(b"mine")
    storage.write(alice, "/data/f", b"theirs", only_if=is_old)
    with refused(errno.ESTALE):
        upload.commit()
    with refused(errno.ESTALE):
        storage.upload(alice, "/data/f", only_if=is_old)
    assert [(r["kind"], r["status_code"]) for r in told()] == [
        ("UPLOAD", 0),
        ("UPLOAD", errno.ESTALE),
    ]
    assert storage.read(alice, "/data/f") == b"theirs"


def test_a_condition_is_asked_of_what_others_made(storage: Storage, alice: Principal) -> None:
    """What an upload itself makes to write in is nothing, and what was removed is nothing."""
    asked: list[Inode | None] = []

    def note(inode: Inode | None) -> bool:
        asked.append(inode)
        return inode is None

    storage.write(alice, "/data/new", b"x", only_if=note)
    assert asked == [None, None]
    upload = storage.upload(alice, "/data/f", only_if=note)
    storage.delete(alice, "/data/f")
    with refused(errno.ENOENT):
        upload.commit()
    assert asked == [None] * 4
