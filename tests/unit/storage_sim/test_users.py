"""The users file: read, checked, read again; the demo's own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from schemas.errors import SettingsError
from storage_sim import users
from storage_sim.users import Users

HASH = users.hash_password("secret")
FILE = f"""
[groups]
alice = 1001
exp = 2000

[users.alice]
uid = 1001
groups = ["alice", "exp"]
home = "/home/alice"
password = "{HASH}"
roles = ["admin"]

[[directories]]
path = "/data"
owner = "alice"
group = "exp"
mode = "0770"
"""


def written(folder: Path, text: str) -> Path:
    """Write a users file; return where it is."""
    file = folder / "users.toml"
    file.write_text(text)
    return file


def test_a_user_is_read(tmp_path: Path) -> None:
    """Names of groups become numbers, the first one is primary."""
    found = Users(written(tmp_path, FILE))
    alice = found.find("alice")
    assert alice is not None
    assert (alice.uid, alice.gids, alice.home) == (1001, (1001, 2000), "/home/alice")
    assert alice.roles == {"admin"}
    assert found.find("bob") is None
    assert HASH not in repr(alice)
    (directory,) = found.directories
    assert (directory.path, directory.uid, directory.gid, directory.mode) == (
        "/data", 1001, 2000, 0o770,
    )  # fmt: skip


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    """A removed user is gone at the next question."""
    file = written(tmp_path, FILE)
    found = Users(file)
    fresh = tmp_path / "fresh.toml"
    fresh.write_text(FILE.replace("[users.alice]", "[users.bob]").replace('"alice"\n', '"bob"\n'))
    fresh.replace(file)
    assert found.find("alice") is None
    assert found.find("bob") is not None


def test_a_broken_file_changes_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Users stay as they were, and the log says what is wrong, once."""
    file = written(tmp_path, FILE)
    found = Users(file)
    file.write_text("[users\n")
    os.utime(file, (1, 1))
    assert found.find("alice") is not None
    assert found.find("alice") is not None
    assert (
        len([r for r in caplog.records if "going on with the users of before" in r.message]) == 1
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("[groups]", "[groups"), "users.toml"),
        (('"exp"]', '"expo"]'), "no such group expo"),
        (("uid = 1001", 'uid = "1001"'), "uid must be a number"),
        (("uid = 1001", "id = 1001"), "unknown id"),
        (('group = "exp"', 'group = "none"'), "none"),
        (('mode = "0770"', 'mode = "0790"'), "0790"),
        ((HASH, "secret"), "users.toml"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(
    tmp_path: Path, change: tuple[str, str], message: str
) -> None:
    """The error names the file and what is wrong."""
    with pytest.raises(SettingsError, match=message):
        Users(written(tmp_path, FILE.replace(*change)))


def test_an_absent_file_is_refused(tmp_path: Path) -> None:
    """The error names the file."""
    with pytest.raises(SettingsError, match="nowhere"):
        Users(tmp_path / "nowhere.toml")


@pytest.mark.parametrize("name", ["admin", "alice", "bob", "carol"])
def test_the_demo_users(name: str) -> None:
    """The password of each is the name and -demo; admin is root, alice and carol are in exp."""
    demo = Users(Path(__file__).parents[3] / "deploy" / "demo" / "users.toml")
    user = demo.find(name)
    assert user is not None
    assert users.password_fits(user.password_hash, f"{name}-demo")
    assert not users.password_fits(user.password_hash, "admin")
    assert (2000 in user.gids) == (name in {"alice", "carol"})
    assert (user.uid == 0) == (name == "admin")
