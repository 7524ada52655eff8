"""The field's own words as constants: billing kinds, localities and inotify(7) mask bits."""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Final


class Kind(StrEnum):
    """What an operation was (`billing.kind`)."""

    CREATE = "CREATE"
    UPLOAD = "UPLOAD"
    READ = "READ"
    LIST = "LIST"
    MKDIR = "MKDIR"
    RMDIR = "RMDIR"
    DELETE = "DELETE"
    RENAME = "RENAME"
    SETATTR = "SETATTR"
    SYMLINK = "SYMLINK"
    FLUSH = "FLUSH"
    STAGE = "STAGE"
    EVICT = "EVICT"
    QOS = "QOS"
    LOST = "LOST"
    JOB = "JOB"


class FileType(StrEnum):
    """What an inode is (`billing.type`), in dCache's words."""

    REGULAR = "REGULAR"
    DIR = "DIR"
    LINK = "LINK"


class Half(StrEnum):
    """Which part of a rename a record tells (`billing.half`)."""

    WHOLE = "WHOLE"
    FROM = "FROM"
    TO = "TO"


class Role(IntEnum):
    """What an inode told by an inotify message is to the object (`inotify.roles`)."""

    PARENT = 0
    SOURCE_PARENT = 1
    SELF = 2
    OVERWRITTEN = 3


FILE_ID_BYTES: Final = 18

# inotify(7), <sys/inotify.h>
IN_ACCESS: Final = 0x0001
IN_MODIFY: Final = 0x0002
IN_ATTRIB: Final = 0x0004
IN_CLOSE_WRITE: Final = 0x0008
IN_CLOSE_NOWRITE: Final = 0x0010
IN_OPEN: Final = 0x0020
IN_MOVED_FROM: Final = 0x0040
IN_MOVED_TO: Final = 0x0080
IN_CREATE: Final = 0x0100
IN_DELETE: Final = 0x0200
IN_DELETE_SELF: Final = 0x0400
IN_MOVE_SELF: Final = 0x0800
IN_UNMOUNT: Final = 0x2000
IN_Q_OVERFLOW: Final = 0x4000
IN_IGNORED: Final = 0x8000
IN_ONLYDIR: Final = 0x0100_0000
IN_DONT_FOLLOW: Final = 0x0200_0000
IN_EXCL_UNLINK: Final = 0x0400_0000
IN_MASK_ADD: Final = 0x2000_0000
IN_ISDIR: Final = 0x4000_0000
IN_ONESHOT: Final = 0x8000_0000

IN_CLOSE: Final = IN_CLOSE_WRITE | IN_CLOSE_NOWRITE
IN_MOVE: Final = IN_MOVED_FROM | IN_MOVED_TO
IN_ALL_EVENTS: Final = 0x0FFF

EVENT_FLAGS: Final[dict[str, int]] = {
    "IN_ACCESS": IN_ACCESS,
    "IN_ATTRIB": IN_ATTRIB,
    "IN_CLOSE_WRITE": IN_CLOSE_WRITE,
    "IN_CLOSE_NOWRITE": IN_CLOSE_NOWRITE,
    "IN_CREATE": IN_CREATE,
    "IN_DELETE": IN_DELETE,
    "IN_DELETE_SELF": IN_DELETE_SELF,
    "IN_MODIFY": IN_MODIFY,
    "IN_MOVE_SELF": IN_MOVE_SELF,
    "IN_MOVED_FROM": IN_MOVED_FROM,
    "IN_MOVED_TO": IN_MOVED_TO,
    "IN_OPEN": IN_OPEN,
}
"""The twelve events a watch can ask for."""

MACRO_FLAGS: Final[dict[str, int]] = {
    "IN_ALL_EVENTS": IN_ALL_EVENTS,
    "IN_CLOSE": IN_CLOSE,
    "IN_MOVE": IN_MOVE,
}

MODIFIER_FLAGS: Final[dict[str, int]] = {
    "IN_DONT_FOLLOW": IN_DONT_FOLLOW,
    "IN_EXCL_UNLINK": IN_EXCL_UNLINK,
    "IN_MASK_ADD": IN_MASK_ADD,
    "IN_ONESHOT": IN_ONESHOT,
    "IN_ONLYDIR": IN_ONLYDIR,
}

_NAMES: Final = {
    **{bit: name for name, bit in EVENT_FLAGS.items()},
    IN_IGNORED: "IN_IGNORED",
    IN_Q_OVERFLOW: "IN_Q_OVERFLOW",
    IN_UNMOUNT: "IN_UNMOUNT",
}


def mask_names(mask: int) -> list[str]:
    """Spell a mask as dCache does: the event's flag first, IN_ISDIR second (rule R13)."""
    names = [name for bit, name in _NAMES.items() if mask & bit]
    if mask & IN_ISDIR:
        names.append("IN_ISDIR")
    return names
