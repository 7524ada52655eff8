"""Where the storage means to differ from Linux: all of it, each with its reason.

The tests compare everything else flag by flag and in order; the page "What inotify means here" is
checked against this table.
"""

from __future__ import annotations

from typing import NamedTuple


class Difference(NamedTuple):
    """One deliberate difference.

    Attributes:
        name: what tests and the page call it.
        linux: what Linux does.
        here: what the storage does.
        why: the reason.
    """

    name: str
    linux: str
    here: str
    why: str


DIFFERENCES = (
    Difference(
        "one-modify",
        "an IN_MODIFY for each write(2), and one for O_TRUNC",
        "one IN_MODIFY for each upload that moved a byte or cut an old content",
        "the storage is told of a whole upload, in order, not of the client's packets",
    ),
    Difference(
        "one-access",
        "an IN_ACCESS for each read(2) that returns bytes, and for each getdents(2)",
        "one IN_ACCESS for each read that moved a byte, and one for each listing",
        "as above",
    ),
    Difference(
        "told-at-the-end",
        "IN_OPEN when a file is opened, IN_CLOSE_* when it is closed, other events between",
        "IN_OPEN, IN_MODIFY or IN_ACCESS, and IN_CLOSE_* stand together, when the transfer has"
        " ended; IN_CREATE comes when an upload begins",
        "an upload's content is not there before its end; half of one is nobody's business",
    ),
    Difference(
        "failed-upload",
        "IN_CLOSE_WRITE also when the writer died half-way",
        "never IN_CLOSE_WRITE: of a new file IN_DELETE, of an old one nothing, since it is as it"
        " was",
        "IN_CLOSE_WRITE means here that the content is whole",
    ),
    Difference(
        "failed-operations",
        "what fails may have told something before, as read(2) of a directory, which opens it",
        "what fails tells nothing; but a read that ends early was a read",
        "an event means that something happened",
    ),
    Difference(
        "no-unlinked-files",
        "a file that was deleted while open goes on causing events, unless IN_EXCL_UNLINK",
        "no events after deletion: IN_EXCL_UNLINK holds always",
        "an upload to a file that was deleted fails; a read of one ends untold",
    ),
    Difference(
        "no-hard-links",
        "link(2) causes IN_CREATE, and IN_ATTRIB on the object",
        "there are no hard links",
        "dCache's doors do not make them",
    ),
    Difference(
        "times-are-attributes",
        "setting only the modification time is IN_MODIFY, only the access time IN_ACCESS",
        "setting times is IN_ATTRIB",
        "IN_MODIFY and IN_ACCESS mean here that bytes were moved; WebDAV clients set times after"
        " each upload",
    ),
    Difference(
        "closed-directories",
        "rmdir(2) and rename(2) tell whoever may write in the directory above whether a directory"
        " is empty",
        "a directory that one may not list one may not remove or replace, and not move to where"
        " what is in it would be deeper (EACCES)",
        "what is in a closed directory, and whether anything is, is nobody's business",
    ),
    Difference(
        "across-shards",
        "one queue: the order of all events",
        "with shard_depth above 0 the order of a shard's events; a move to another shard is told"
        " in both, IN_MOVED_FROM and IN_MOVE_SELF in the old one; with shard_depth above 1 a"
        " directory above that level cannot be renamed unless it is empty and stays above it"
        " (EXDEV)",
        "shards are independent so that they scale; with shard_depth 0 there is one",
    ),
    Difference(
        "no-merging",
        "an event equal to the last unread one is dropped",
        "each is told",
        "whether a reader was quick must not change what it is told",
    ),
    Difference(
        "mask-at-once",
        "new flags of a watch count for what happens afterwards; what is queued stays as it is",
        "new flags count for all that has not been told yet, also for earlier events",
        "a watch has one set of flags; who comes back is told by those asked for last",
    ),
    Difference(
        "beyond-linux",
        "inotify knows nothing of tapes, pools or QoS",
        "flush, stage, evict, a QoS transition and the loss of a file are IN_ATTRIB",
        "its locality is an attribute of a file; dCache does it so",
    ),
)


def table() -> str:
    """Return the table as Markdown."""
    rows = [
        f"| `{difference.name}` | {difference.linux} | {difference.here} | {difference.why} |"
        for difference in DIFFERENCES
    ]
    return "\n".join(["| name | Linux | here | why |", "|---|---|---|---|", *rows]) + "\n"


if __name__ == "__main__":
    print(table())
