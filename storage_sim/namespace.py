"""The rules of the namespace, as pure functions: names, paths, shards, what a rename may do."""

from __future__ import annotations

import errno
import re
from typing import TYPE_CHECKING, Final

from schemas import vocabulary
from storage_sim.errors import OperationFailed, invalid

if TYPE_CHECKING:
    from collections.abc import Iterable

    from storage_sim.inodes import Inode

NAME_MAX_BYTES: Final = 255
PATH_MAX_BYTES: Final = 4096
DEPTH_MAX: Final = 100
"""With `MAX_ENTRIES` of an ACL it keeps a record below what Kafka takes in one message."""
LINKS_MAX: Final = 40
MODE_BITS: Final = 0o7777
SETGID: Final = 0o2000

# Nobody needs them, and they forge log lines, headers and streams.
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


def check_name(name: str) -> None:
    """Check a new object's name.

    Raises:
        OperationFailed: it is no name, too long, or has characters that no name may have.
    """
    if name in ("", ".", "..") or "/" in name:
        raise invalid(f"not a name: {name!r}")
    if _CONTROL.search(name):
        raise invalid("a name must not have control characters")
    if len(name.encode()) > NAME_MAX_BYTES:
        raise OperationFailed(errno.ENAMETOOLONG, f"a name has at most {NAME_MAX_BYTES} bytes")


def split_path(path: str) -> list[str]:
    """Return a path's components, without empty ones and `.`; `..` stays.

    Raises:
        OperationFailed: it is too long, or no text: there can be no such path.
    """
    try:
        size = len(path.encode())
    except UnicodeEncodeError:
        raise OperationFailed(errno.EILSEQ, "a path must be Unicode text") from None
    if size > PATH_MAX_BYTES:
        raise OperationFailed(errno.ENAMETOOLONG, f"a path has at most {PATH_MAX_BYTES} bytes")
    return [part for part in path.split("/") if part not in ("", ".")]


def join_path(parent: str, name: str) -> str:
    """Return the path of `name` in the directory `parent`."""
    return f"/{name}" if parent == "/" else f"{parent}/{name}"


def check_place(path: str) -> None:
    """Check that a new object may be as deep and its path as long as this.

    Raises:
        OperationFailed: it may not.
    """
    if len(path.encode()) > PATH_MAX_BYTES or path.count("/") > DEPTH_MAX:
        raise OperationFailed(
            errno.ENAMETOOLONG,
            f"a path has at most {PATH_MAX_BYTES} bytes and {DEPTH_MAX} components",
        )


def shard_of(storage: str, path: str, depth: int) -> str:
    """Return the shard that tells what happens to the object at `path`.

    Args:
        storage: the storage instance's name.
        path: the object's own absolute path.
        depth: how many of its first components belong to the shard; 0: one shard for all.
    """
    parts = split_path(path)[:depth]
    return "/".join([storage, *parts])


def scatters(old: str, new: str, depth: int, *, is_empty: bool) -> bool:
    """Whether renaming a directory would take what is in it from one shard to several, or back.

    What is below the level at which shards begin goes from its one shard to one other, and watches
    follow. A directory above that level holds many, and each would need a record of its own.

    Args:
        old: its path.
        new: its new path.
        depth: how many of a path's first components belong to the shard.
        is_empty: whether nothing is in it.
    """
    above = [len(split_path(path)) < depth for path in (old, new)]
    return any(above) and not (all(above) and is_empty)


def permissions_of(inodes: Iterable[Inode]) -> str:
    """Return the permissions of a path's objects, root first, as they stand in a record."""
    return " ".join(inode.permission for inode in inodes)


def ids_of(inodes: Iterable[Inode]) -> bytes:
    """Return the ids of a path's objects, root first, one after the other."""
    return b"".join(inode.id for inode in inodes)


def check_rename(source: Inode, target: Inode | None, target_above: Iterable[Inode]) -> None:
    """Check that rename(2) allows it by the kinds and places of the two objects.

    Args:
        source: what is renamed.
        target: what has the new name now, if anything.
        target_above: the directories from the root to the new parent.

    Raises:
        OperationFailed: a directory into itself, a directory over a file or the reverse.
    """
    source_is_directory = source.type == vocabulary.FileType.DIR
    if source_is_directory and any(above.id == source.id for above in target_above):
        raise invalid("a directory cannot be moved into itself")
    if target is None:
        return
    target_is_directory = target.type == vocabulary.FileType.DIR
    if source_is_directory and not target_is_directory:
        raise OperationFailed(errno.ENOTDIR)
    if target_is_directory and not source_is_directory:
        raise OperationFailed(errno.EISDIR)


def new_mode(mode: int, parent: Inode, *, is_directory: bool) -> int:
    """Return the mode of a new object: a set-group-id directory hands that on to directories."""
    mode &= MODE_BITS
    return mode | SETGID if is_directory and parent.mode & SETGID else mode


def new_group(parent: Inode, gids: tuple[int, ...]) -> int:
    """Return the group of a new object: its maker's, or that of a set-group-id parent."""
    if parent.mode & SETGID or not gids:
        return parent.gid
    return gids[0]
