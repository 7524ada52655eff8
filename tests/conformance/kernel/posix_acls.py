"""POSIX.1e access control lists, as the kernel keeps them, and as our entries say the same.

NFSv4 ACLs themselves cannot be compared on a local file system: Linux has them only where a file
server or ZFS does. But the kernel's own lists are evaluated by rules that ours can express: the
first of owner, named user, groups and others that fits decides, groups together.
"""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

_NAME = "system.posix_acl_access"
_USER_OBJ, _USER, _GROUP_OBJ, _GROUP, _MASK, _OTHER = 1, 2, 4, 8, 16, 32
_NOBODY = 0xFFFFFFFF
_VERSION = 2


class PosixAcl(NamedTuple):
    """A list that is more than a mode.

    Attributes:
        owner: the owner's rights, as the three bits of a mode.
        users: those of named users.
        group: those of the owning group.
        groups: those of named groups.
        mask: what users and groups have at most.
        others: everybody else's.
    """

    owner: int
    users: dict[int, int]
    group: int
    groups: dict[int, int]
    mask: int
    others: int

    def put(self, path: Path) -> None:
        """Give an object this list.

        Raises:
            OSError: the file system has none.
        """
        entries = [
            (_USER_OBJ, self.owner, _NOBODY),
            *((_USER, rights, uid) for uid, rights in sorted(self.users.items())),
            (_GROUP_OBJ, self.group, _NOBODY),
            *((_GROUP, rights, gid) for gid, rights in sorted(self.groups.items())),
            (_MASK, self.mask, _NOBODY),
            (_OTHER, self.others, _NOBODY),
        ]
        packed = b"".join(struct.pack("<HHI", *entry) for entry in entries)
        os.setxattr(path, _NAME, struct.pack("<I", _VERSION) + packed)

    def acl(self) -> str:
        """Return our entries that say the same; the mode has nothing left to say."""
        said = [*_whole("OWNER@", self.owner)]
        for uid, rights in sorted(self.users.items()):
            said += _whole(f"u={uid}", rights & self.mask)
        groups = {"GROUP@": self.group, **{f"g={gid}": r for gid, r in self.groups.items()}}
        # any of one's groups may grant, and whoever is in one is not among the others
        said += [
            f"A::{who}:{_letters(r & self.mask)}" for who, r in groups.items() if r & self.mask
        ]
        said += [f"D::{who}:rwx" for who in groups]
        said += _whole("EVERYONE@", self.others)
        return ",".join(said)


def _letters(rights: int) -> str:
    return "".join(letter for bit, letter in ((4, "r"), (2, "w"), (1, "x")) if rights & bit)


def _whole(who: str, rights: int) -> list[str]:
    """Return entries that decide all three rights of somebody."""
    allowed = [f"A::{who}:{_letters(rights)}"] if rights else []
    return [*allowed, *([f"D::{who}:{_letters(~rights & 7)}"] if rights != 7 else [])]
