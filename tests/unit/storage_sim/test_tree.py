"""Names and places: what operations on the tree do, refuse and tell."""

from __future__ import annotations

import errno
import threading
from typing import TYPE_CHECKING

import pytest

from schemas.errors import SettingsError
from storage_sim import namespace
from storage_sim.core import SYSTEM
from storage_sim.errors import OperationFailed
from tests.unit.storage_sim import history
from tests.unit.storage_sim.history import refused

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pipeline.authz.principal import Principal
    from schemas.records import BillingRecord
    from storage_sim.storage import Storage

    Told = Callable[[], list[BillingRecord]]


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


def test_directories_that_hold_shards_are_not_renamed(tmp_path: Path) -> None:
    """A watch below could not follow: what is below would go from or to several shards."""
    storage = history.open_storage(tmp_path, depth=2)
    try:
        for path in ("/a", "/a/x", "/a/x/d", "/b", "/b/y", "/empty"):
            storage.mkdir(SYSTEM, path)
        before = len(history.records(storage))
        for source, target in (
            ("/a", "/c"), ("/a", "/b/c"), ("/a/x", "/c"), ("/a/x/d", "/c"), ("/empty", "/b/c"),
        ):  # fmt: skip
            with refused(errno.EXDEV):
                storage.rename(SYSTEM, source, target)
        assert len(history.records(storage)) == before
        for source, target in (("/a/x", "/b/x"), ("/b/x/d", "/a/d"), ("/empty", "/still")):
            storage.rename(SYSTEM, source, target)
        storage.write(SYSTEM, "/a/f", b"")
        storage.rename(SYSTEM, "/a/f", "/f")
    finally:
        storage.close()


@pytest.mark.parametrize("depth", [0, 1])
def test_with_one_level_of_shards_everything_can_be_renamed(tmp_path: Path, depth: int) -> None:
    """What is in a top directory is in one shard before and after."""
    storage = history.open_storage(tmp_path, depth=depth)
    try:
        for path in ("/a", "/a/x", "/a/x/d", "/b"):
            storage.mkdir(SYSTEM, path)
        for source, target in (("/a", "/c"), ("/c/x", "/x"), ("/x/d", "/b/d"), ("/b/d", "/e")):
            storage.rename(SYSTEM, source, target)
    finally:
        storage.close()
