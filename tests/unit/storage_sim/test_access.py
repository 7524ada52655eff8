"""Who may do what, and what attributes say."""

from __future__ import annotations

import errno
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from pipeline.authz.principal import Principal, Restrictions
from storage_sim.core import SYSTEM
from storage_sim.errors import OperationFailed
from tests.unit.storage_sim import history
from tests.unit.storage_sim.history import refused

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from schemas.records import BillingRecord
    from storage_sim.storage import Storage

    Told = Callable[[], list[BillingRecord]]


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


@pytest.mark.parametrize("is_full", [False, True])
def test_whether_a_closed_directory_is_empty_is_told_to_nobody(
    tmp_path: Path, alice: Principal, bob: Principal, *, is_full: bool
) -> None:
    """Neither by removing it, nor by replacing it, nor by moving it between shards."""
    storage = history.open_storage(tmp_path, depth=3)
    storage.mkdir(SYSTEM, "/data", mode=0o777)
    for path, mode in (("/data/closed", 0o700), ("/data/blind", 0o733), ("/data/mine", 0o755)):
        storage.mkdir(bob if path.endswith("mine") else alice, path, mode=mode)
    if is_full:
        storage.write(alice, "/data/closed/f", b"")
        storage.write(alice, "/data/blind/f", b"")
    before = len(history.records(storage))
    unlisted = replace(bob, restrictions=Restrictions(activities=frozenset({"DELETE"})))
    for refusal in (
        lambda: storage.rmdir(bob, "/data/closed"),
        lambda: storage.rmdir(bob, "/data/blind"),
        lambda: storage.rmdir(unlisted, "/data/mine"),
        lambda: storage.rename(bob, "/data/mine", "/data/closed"),
    ):
        with refused(errno.EACCES):
            refusal()
    with refused(errno.EXDEV):
        storage.rename(bob, "/data/closed", "/data/other")
    assert len(history.records(storage)) == before
    storage.close()


@pytest.mark.parametrize("depth", [1, 70])
def test_how_deep_a_closed_directory_goes_is_told_to_nobody(
    storage: Storage, alice: Principal, bob: Principal, depth: int
) -> None:
    """It is moved to where nothing in it gets deeper, and nowhere else."""
    path = "/data/blind"
    storage.mkdir(alice, path, mode=0o733)
    for _ in range(depth):
        path += "/d"
        storage.mkdir(alice, path)
    below = "/data"
    for _ in range(40):
        below += "/b"
        storage.mkdir(bob, below)
    storage.chmod(SYSTEM, "/data", 0o777)
    with refused(errno.EACCES):
        storage.rename(bob, "/data/blind", f"{below}/blind")
    storage.mkdir(SYSTEM, "/beside", mode=0o777)
    storage.rename(bob, "/data/blind", "/beside/blind")


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


def test_a_link_tells_a_token_nothing_of_what_is_outside(
    storage: Storage, alice: Principal
) -> None:
    """A link that leads out and in again, through what may be there, is as if it led nowhere."""
    storage.mkdir(alice, "/data/in")
    storage.write(alice, "/data/in/f", b"in")
    storage.mkdir(alice, "/data/there")
    storage.write(alice, "/data/file", b"")
    storage.symlink(alice, "/data/in/f", "/data/shown")
    for name, target in {
        "there": "/data/there/../in/f",
        "absent": "/data/absent/../in/f",
        "file": "/data/file/../in/f",
        "round": "../there/../../data/in/f",
        "inside": "../in/f",
    }.items():
        storage.symlink(alice, target, f"/data/in/{name}")
    for root in ("/", "/data/in"):
        confined = Principal(
            "alice", 1001, (1001,), restrictions=Restrictions(root=root, path="/data/in")
        )
        base = "/data/in" if root == "/" else ""
        said = set()
        for name in ("there", "absent", "file", "round"):
            with pytest.raises(OperationFailed) as caught:
                storage.stat(confined, f"{base}/{name}")
            said.add((caught.value.code, str(caught.value)))
        assert said == {(errno.ENOENT, "No such file or directory")}
        assert storage.read(confined, f"{base}/inside") == b"in"
    confined = Principal("alice", 1001, (1001,), restrictions=Restrictions(path="/data/in"))
    for path in ("/data/file/x", "/data/absent/x", "/data/shown"):
        with refused(errno.ENOENT):
            storage.read(confined, path)
