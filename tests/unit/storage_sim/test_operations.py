"""What single operations do, refuse and tell."""

from __future__ import annotations

import errno
import hashlib
import threading
from typing import TYPE_CHECKING

import pytest

from pipeline.authz.principal import Principal, Restrictions
from schemas.errors import SettingsError
from storage_sim import namespace
from storage_sim.billing import Origin
from storage_sim.core import SYSTEM
from storage_sim.errors import OperationFailed
from tests.unit.storage_sim import history

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from schemas.records import BillingRecord
    from storage_sim.storage import Storage

    Told = Callable[[], list[BillingRecord]]


def refused(code: int) -> pytest.RaisesExc[OperationFailed]:
    """Expect a certain error number."""
    return pytest.RaisesExc(OperationFailed, check=lambda error: error.code == code)


def kinds(records: list[BillingRecord]) -> list[str]:
    """Return the records' kinds."""
    return [record["kind"] for record in records]


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


def test_a_rename_tells_both_places(storage: Storage, told: Told, alice: Principal) -> None:
    """One record, with what was overwritten, a cookie, and the permissions of both paths."""
    storage.mkdir(alice, "/data/a", mode=0o700)
    storage.mkdir(alice, "/data/b", mode=0o750)
    storage.write(alice, "/data/a/f", b"1")
    gone = storage.write(alice, "/data/b/g", b"2")
    told()
    storage.rename(alice, "/data/a/f", "/data/b/g")
    (record,) = told()
    assert record["source"] is not None
    assert (record["source"]["path"], record["path"]) == ("/data/a/f", "/data/b/g")
    assert record["source"]["permissions"].split(" ")[2] == "1001:1001:700"
    assert record["permissions"].split(" ")[2] == "1001:1001:750"
    assert record["overwritten"] is not None
    assert record["overwritten"]["inode"] == gone.id
    assert record["cookie"] is not None
    assert len(record["cookie"]) == 22


def test_renaming_onto_itself_is_not_told(storage: Storage, told: Told, alice: Principal) -> None:
    """As rename(2): nothing happens."""
    storage.write(alice, "/data/f", b"")
    told()
    storage.rename(alice, "/data/f", "/data/f")
    assert told() == []


def test_what_rename_refuses(storage: Storage, told: Told, alice: Principal) -> None:
    """The kernel's error numbers, and no record."""
    storage.mkdir(alice, "/data/d")
    storage.mkdir(alice, "/data/full")
    storage.write(alice, "/data/full/x", b"")
    storage.write(alice, "/data/f", b"")
    told()
    for source, target, code in [
        ("/data/d", "/data/d/below", errno.EINVAL),
        ("/data/d", "/data/f", errno.ENOTDIR),
        ("/data/f", "/data/d", errno.EISDIR),
        ("/data/d", "/data/full", errno.ENOTEMPTY),
        ("/data/none", "/data/g", errno.ENOENT),
        ("/data/f", "/data/none/g", errno.ENOENT),
        ("/data/f", "/data/f/g", errno.ENOTDIR),
        ("/data/f", "/data/" + 256 * "x", errno.ENAMETOOLONG),
        ("/", "/data/g", errno.EBUSY),
    ]:
        with refused(code):
            storage.rename(alice if source != "/" else SYSTEM, source, target)
    assert told() == []


def test_a_move_across_shards_is_two_records(tmp_path: Path) -> None:
    """Each half is in its own shard and names the other; both were committed together."""
    storage = history.open_storage(tmp_path, depth=1)
    for path in ("/a", "/b", "/a/d"):
        storage.mkdir(SYSTEM, path)
    storage.write(SYSTEM, "/a/d/f", b"")
    storage.rename(SYSTEM, "/a/d", "/b/d")
    storage.write(SYSTEM, "/b/d/f", b"again")
    *_, left, came, after = history.records(storage)
    assert (left["shard"], left["half"]) == ("sim/a", "FROM")
    assert (came["shard"], came["half"]) == ("sim/b", "TO")
    assert left["twin"] == {"shard": "sim/b", "number": came["number"]}
    assert came["twin"] == {"shard": "sim/a", "number": left["number"]}
    assert left["cookie"] == came["cookie"]
    assert left["operation"] == came["operation"]
    assert (after["shard"], after["path"]) == ("sim/b", "/b/d/f")
    storage.close()


@pytest.mark.parametrize(
    ("path", "depth", "shard"),
    [
        ("/", 2, "sim"),
        ("/a", 0, "sim"),
        ("/a", 2, "sim/a"),
        ("/a/b", 2, "sim/a/b"),
        ("/a/b/c", 2, "sim/a/b"),
    ],
)
def test_the_shard_of_a_path(path: str, depth: int, shard: str) -> None:
    """The storage's name and the first components of the object's own path."""
    assert namespace.shard_of("sim", path, depth) == shard


def test_who_may_not_look_is_told_what_is_told_of_the_absent(
    storage: Storage, alice: Principal, bob: Principal
) -> None:
    """The same error, word for word, for what is hidden and for what is not there."""
    storage.mkdir(alice, "/data/secret", mode=0o700)
    storage.write(alice, "/data/secret/f", b"")
    said = []
    for path in ("/data/secret/f", "/data/secret/none", "/data/none/f", "/data/none"):
        with pytest.raises(OperationFailed) as caught:
            storage.stat(bob, path)
        said.append((caught.value.code, str(caught.value)))
    assert set(said) == {(errno.ENOENT, "No such file or directory")}


def test_sticky_directories(storage: Storage, alice: Principal, bob: Principal) -> None:
    """In `/data`, where everybody may write, only its owner removes or replaces a file."""
    storage.write(alice, "/data/f", b"")
    storage.write(bob, "/data/g", b"")
    with refused(errno.EACCES):
        storage.delete(bob, "/data/f")
    with refused(errno.EACCES):
        storage.rename(bob, "/data/f", "/data/h")
    with refused(errno.EACCES):
        storage.rename(bob, "/data/g", "/data/f")
    storage.delete(alice, "/data/f")


def test_attributes_and_who_may_set_them(
    storage: Storage, told: Told, alice: Principal, bob: Principal
) -> None:
    """Each is told by its name; others than the owner may not."""
    storage.write(alice, "/data/f", b"")
    told()
    storage.chmod(alice, "/data/f", 0o640)
    storage.chown(alice, "/data/f", gid=2000)
    storage.set_acl(alice, "/data/f", "A::u=1002:r")
    storage.set_modified(alice, "/data/f", 1_000_000)
    storage.set_xattr(alice, "/data/f", "colour", "blue")
    storage.set_label(alice, "/data/f", "raw")
    seen = storage.snapshot(bob, "/data/f").seen
    assert (seen.xattrs, seen.labels) == ({"colour": "blue"}, ["raw"])
    storage.rm_xattr(alice, "/data/f", "colour")
    storage.rm_label(alice, "/data/f", "raw")
    storage.chown(SYSTEM, "/data/f", uid=1002)
    records = told()
    assert [r["attribute"] for r in records] == [
        "mode", "group", "acl", "times", "xattr", "label", "xattr", "label", "owner",
    ]  # fmt: skip
    assert records[-1]["permissions"].rpartition(" ")[2] == "1002:2000:640|A::u=1002:r"
    for forbidden, code in [
        (lambda: storage.chmod(alice, "/data/f", 0o777), errno.EPERM),
        (lambda: storage.chown(bob, "/data/f", uid=1001), errno.EPERM),
        (lambda: storage.chown(bob, "/data/f", gid=0), errno.EPERM),
        (lambda: storage.set_xattr(alice, "/data/f", "a", "b"), errno.EACCES),
        (lambda: storage.rm_xattr(bob, "/data/f", "none"), errno.ENODATA),
        (lambda: storage.set_acl(bob, "/data/f", "nonsense"), errno.EINVAL),
        (lambda: storage.chmod(bob, "/data/f", 0o10000), errno.EINVAL),
    ]:
        with refused(code):
            forbidden()
    assert told() == []


def test_acls_are_inherited(storage: Storage, alice: Principal, bob: Principal) -> None:
    """What an ACL hands on decides about what is made below."""
    storage.mkdir(alice, "/data/d", mode=0o700)
    storage.set_acl(alice, "/data/d", "A:fd:u=1002:rx")
    storage.write(alice, "/data/d/f", b"shared", mode=0o600)
    assert storage.read(bob, "/data/d/f") == b"shared"


def test_set_group_id_directories_hand_on_their_group(storage: Storage, alice: Principal) -> None:
    """New objects get the group, new directories the bit too."""
    storage.mkdir(alice, "/data/d")
    storage.chown(alice, "/data/d", gid=2000)
    storage.chmod(alice, "/data/d", 0o2775)
    assert storage.write(alice, "/data/d/f", b"").gid == 2000
    below = storage.mkdir(alice, "/data/d/e")
    assert (below.gid, below.mode) == (2000, 0o2755)


def test_symlinks(storage: Storage, alice: Principal, bob: Principal) -> None:
    """They are followed by rights of the one who follows; loops end; `..` works."""
    storage.mkdir(alice, "/data/d", mode=0o700)
    storage.write(alice, "/data/d/f", b"x")
    storage.symlink(alice, "/data/d", "/data/l")
    storage.symlink(alice, "../d/f", "/data/d/up")
    storage.symlink(alice, "loop", "/data/loop")
    assert storage.read(alice, "/data/l/up") == b"x"
    assert storage.stat(alice, "/data/l").path == "/data/d"
    assert storage.stat(alice, "/data/l", follow=False).path == "/data/l"
    with refused(errno.ENOENT):
        storage.read(bob, "/data/l/f")
    with refused(errno.ELOOP):
        storage.stat(alice, "/data/loop")
    storage.delete_tree(alice, "/data/l")
    assert storage.read(alice, "/data/d/f") == b"x"


def test_a_token_confines(storage: Storage, alice: Principal) -> None:
    """Root, path and activities of a token hold, also through links out of it and `..`."""
    storage.mkdir(alice, "/data/in")
    storage.write(alice, "/data/in/f", b"in")
    storage.write(alice, "/data/out", b"out")
    storage.symlink(alice, "/data/out", "/data/in/link")
    confined = Principal(
        "alice",
        1001,
        (1001,),
        restrictions=Restrictions(
            root="/data/in",
            path="/data/in",
            activities=frozenset({"DOWNLOAD", "LIST", "READ_METADATA"}),
        ),
    )
    assert storage.read(confined, "/f") == b"in"
    assert [entry.name for entry in storage.listing(confined, "/")] == ["f", "link"]
    for path in ("/../out", "/link", "/data/out", "/../../data/out"):
        with refused(errno.ENOENT):
            storage.read(confined, path)
    for forbidden in (
        lambda: storage.write(confined, "/g", b""),
        lambda: storage.delete(confined, "/f"),
        lambda: storage.rename(confined, "/f", "/g"),
        lambda: storage.mkdir(confined, "/d"),
        lambda: storage.chmod(confined, "/f", 0o777),
    ):
        with refused(errno.EACCES):
            forbidden()


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


@pytest.mark.parametrize(
    "name", ["a\nb", "a\rb", "a\0b", "\x7f", "x" * 256, "ü" * 128, "\udc80", "."]
)
def test_names_that_are_refused(storage: Storage, told: Told, alice: Principal, name: str) -> None:
    """Control characters, what is too long and what is no text never become a name."""
    with pytest.raises(OperationFailed):
        storage.mkdir(alice, f"/data/{name}")
    assert told() == []


@pytest.mark.parametrize("name", ["ü", "e\u0301", "<img src=x>", "a b", "#", "%2F", "🔭", "..."])
def test_names_that_are_kept_as_they_are(storage: Storage, alice: Principal, name: str) -> None:
    """Names are bytes to us: no normal form, no case."""
    storage.write(alice, f"/data/{name}", b"")
    assert [entry.name for entry in storage.listing(alice, "/data")] == [name]


def test_paths_have_a_depth(storage: Storage, alice: Principal) -> None:
    """Nothing gets deeper than a record can tell, neither by making nor by moving."""
    path = "/data"
    for _ in range(namespace.DEPTH_MAX - 1):
        path += "/d"
        storage.mkdir(alice, path)
    with refused(errno.ENAMETOOLONG):
        storage.mkdir(alice, path + "/d")
    storage.mkdir(alice, "/data/e")
    with refused(errno.ENAMETOOLONG):
        storage.rename(alice, "/data/d", "/data/e/d")


def test_snapshot_below(storage: Storage, alice: Principal, bob: Principal) -> None:
    """Everything below that the user may see, each directory before what is in it."""
    storage.mkdir(alice, "/data/a")
    storage.mkdir(alice, "/data/a/open")
    storage.mkdir(alice, "/data/a/shut", mode=0o700)
    storage.write(alice, "/data/a/open/f", b"")
    storage.write(alice, "/data/a/shut/f", b"")
    found = storage.snapshot(bob, "/data/a", children=True, recursive=True)
    assert [entry.name for entry in found.entries] == ["open", "open/f", "shut"]
    assert found.may_watch
    assert found.positions == {"sim": history.records(storage)[-1]["number"]}
    assert not storage.snapshot(bob, "/data/a/shut").may_watch


def test_many_threads(storage: Storage, alice: Principal) -> None:
    """Operations of many threads are told one after the other, all of them."""
    failed: list[Exception] = []

    def work(number: int) -> None:
        try:
            storage.mkdir(alice, f"/data/d{number}")
            for index in range(20):
                storage.write(alice, f"/data/d{number}/f{index}", b"x")
                storage.rename(alice, f"/data/d{number}/f{index}", f"/data/d{number}/g")
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    records = history.records(storage)
    assert [record["number"] for record in records] == list(range(1, len(records) + 1))
    assert history.rebuild(records) == history.actual(storage)
    assert len(records) == 1 + 8 * (1 + 20 * 3)


def test_a_folder_has_one_process(storage: Storage, tmp_path: Path) -> None:
    """Two publishers would tell things out of order: the second storage does not start."""
    with pytest.raises(SettingsError, match="in use"):
        history.open_storage(tmp_path)
