"""The rows of the namespace: what an inode is, and the statements that read and change it.

There are no hard links, so an inode's one name and parent stand in its own row.
"""

from __future__ import annotations

import functools
import secrets
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pipeline.authz import scope
from schemas import vocabulary

if TYPE_CHECKING:
    import sqlite3

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS inodes (
    id BLOB PRIMARY KEY,
    parent BLOB,
    name TEXT NOT NULL,
    type TEXT NOT NULL,
    uid INTEGER NOT NULL,
    gid INTEGER NOT NULL,
    mode INTEGER NOT NULL,
    acl TEXT NOT NULL,
    size INTEGER NOT NULL,
    content TEXT,
    target TEXT NOT NULL,
    checksums TEXT NOT NULL,
    created_us INTEGER NOT NULL,
    modified_us INTEGER NOT NULL,
    changed_us INTEGER NOT NULL,
    UNIQUE (parent, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS xattrs (
    inode BLOB NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (inode, name)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS labels (
    inode BLOB NOT NULL, name TEXT NOT NULL, PRIMARY KEY (inode, name)
) WITHOUT ROWID;
"""


class Inode(NamedTuple):
    """One object of the namespace.

    Attributes:
        id: 18 bytes, for ever.
        parent: id of the directory it is in; None for the root.
        name: its name there; empty for the root.
        type: REGULAR, DIR or LINK.
        uid: owner.
        gid: group.
        mode: permission bits, without the type.
        acl: ACL text, may be empty.
        size: bytes of a file.
        content: where its bytes are (`contents`); "" for none; None while its first upload runs.
        target: what a symlink says.
        checksums: `algorithm:value`, joined by one space.
        created_us: creation time, epoch microseconds.
        modified_us: last change of content, or of a directory's entries, epoch microseconds.
        changed_us: last change of anything, epoch microseconds.
    """

    id: bytes
    parent: bytes | None
    name: str
    type: str
    uid: int
    gid: int
    mode: int
    acl: str
    size: int
    content: str | None
    target: str
    checksums: str
    created_us: int
    modified_us: int
    changed_us: int

    @property
    def is_directory(self) -> bool:
        """Whether it has entries."""
        return self.type == vocabulary.FileType.DIR

    @property
    def is_link(self) -> bool:
        """Whether it is a symlink."""
        return self.type == vocabulary.FileType.LINK

    @property
    def permission(self) -> str:
        """What decides who may do what with it, as text."""
        return _permission(self.uid, self.gid, self.mode, self.acl)

    @property
    def locality(self) -> str | None:
        """Where its bytes are: ONLINE; NONE before the first upload is over; None: no file."""
        if self.type != vocabulary.FileType.REGULAR:
            return None
        return "NONE" if self.content is None else "ONLINE"


_permission = functools.lru_cache(maxsize=4096)(scope.permission)

_COLUMNS: Final = ", ".join(Inode._fields)
_CHILD: Final = f"SELECT {_COLUMNS} FROM inodes WHERE parent = ? AND name = ?"  # noqa: S608 - columns
_BY_ID: Final = f"SELECT {_COLUMNS} FROM inodes WHERE id = ?"  # noqa: S608 - columns only
_ROOT: Final = f"SELECT {_COLUMNS} FROM inodes WHERE parent IS NULL"  # noqa: S608 - columns only
_CHILDREN: Final = f"SELECT {_COLUMNS} FROM inodes WHERE parent = ? ORDER BY name LIMIT ? OFFSET ?"  # noqa: S608
_INSERT: Final = f"INSERT INTO inodes ({_COLUMNS}) VALUES ({', '.join('?' * len(Inode._fields))})"  # noqa: S608


def new_id() -> bytes:
    """Return a new inode's id: two zero bytes, as dCache's database number 0, then chance."""
    return b"\0\0" + secrets.token_bytes(vocabulary.FILE_ID_BYTES - 2)


def _one(db: sqlite3.Connection, statement: str, arguments: tuple[Any, ...]) -> Inode | None:
    row = db.execute(statement, arguments).fetchone()
    return None if row is None else Inode._make(row)


def root(db: sqlite3.Connection) -> Inode:
    """Return the root directory."""
    inode = _one(db, _ROOT, ())
    assert inode is not None, "the root is made with the database"
    return inode


def child(db: sqlite3.Connection, parent: bytes, name: str) -> Inode | None:
    """Return the object of that name in a directory."""
    return _one(db, _CHILD, (parent, name))


def by_id(db: sqlite3.Connection, inode_id: bytes) -> Inode | None:
    """Return the object with that id."""
    return _one(db, _BY_ID, (inode_id,))


def children(
    db: sqlite3.Connection, parent: bytes, *, limit: int = -1, offset: int = 0
) -> list[Inode]:
    """Return a directory's objects in the order of their names (bytewise)."""
    return list(map(Inode._make, db.execute(_CHILDREN, (parent, limit, offset))))


def has_children(db: sqlite3.Connection, parent: bytes) -> bool:
    """Whether there is anything in a directory."""
    found = db.execute("SELECT 1 FROM inodes WHERE parent = ? LIMIT 1", (parent,)).fetchone()
    return found is not None


def insert(db: sqlite3.Connection, inode: Inode) -> None:
    """Add an object."""
    db.execute(_INSERT, inode)


def update(db: sqlite3.Connection, inode: Inode, **changes: Any) -> Inode:
    """Change an object; return it as it is then."""
    columns = ", ".join(f"{column} = ?" for column in changes)
    db.execute(
        f"UPDATE inodes SET {columns} WHERE id = ?",  # noqa: S608 - the names are keywords
        (*changes.values(), inode.id),
    )
    return inode._replace(**changes)


def remove(db: sqlite3.Connection, inode: Inode) -> None:
    """Take an object out of the namespace, with its attributes."""
    for statement in (
        "DELETE FROM inodes WHERE id = ?",
        "DELETE FROM xattrs WHERE inode = ?",
        "DELETE FROM labels WHERE inode = ?",
    ):
        db.execute(statement, (inode.id,))


def xattrs(db: sqlite3.Connection, inode: Inode) -> dict[str, str]:
    """Return an object's extended attributes."""
    found = db.execute("SELECT name, value FROM xattrs WHERE inode = ? ORDER BY name", (inode.id,))
    return dict(found.fetchall())


def labels(db: sqlite3.Connection, inode: Inode) -> list[str]:
    """Return an object's labels, in order."""
    found = db.execute("SELECT name FROM labels WHERE inode = ? ORDER BY name", (inode.id,))
    return [row[0] for row in found]
