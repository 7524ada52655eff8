"""One good default of each record and value; a test says only what matters to it."""

from __future__ import annotations

from typing import Any

from pipeline.authz.principal import Principal


def inode(number: int) -> bytes:
    """Return a file id."""
    return number.to_bytes(18, "big")


def inodes(*numbers: int) -> bytes:
    """Return file ids, one after the other, as a record has them."""
    return b"".join(inode(number) for number in numbers)


def principal(uid: int = 1000, *gids: int, **changes: Any) -> Principal:
    """Return a user who is in the groups given, or in one of their own."""
    return Principal(changes.pop("user", f"u{uid}"), uid, gids or (uid,), **changes)


def billing_record(**changes: Any) -> Any:
    """Return the record of a successful upload of `/data/f` by uid 1000."""
    record = {
        "shard": "sim",
        "number": 7,
        "operation": "0" * 32,
        "time_us": 1_700_000_000_000_000,
        "storage": "sim",
        "kind": "UPLOAD",
        "inode": inode(3),
        "ancestors": inodes(1, 2),
        "permissions": "0:0:755 0:0:755 1000:1000:644",
        "path": "/data/f",
        "name": "f",
        "type": "REGULAR",
        "source": None,
        "overwritten": None,
        "half": "WHOLE",
        "twin": None,
        "cookie": None,
        "uid": 1000,
        "gids": [1000],
        "user": "alice",
        "client": "192.0.2.1",
        "door": "webdav",
        "protocol": "http",
        "size_bytes": 3,
        "transferred_bytes": 3,
        "checksums": ["adler32:024d0127"],
        "duration_ms": 5,
        "status_code": 0,
        "status_message": "",
        "locality": "ONLINE",
        "attribute": None,
    }
    return {**record, **changes}


def rename_record(**changes: Any) -> Any:
    """Return the record of a rename of `/old/g` to `/data/f`."""
    return billing_record(
        **{
            "kind": "RENAME",
            "cookie": "Y29va2llY29va2llY29va2",
            "transferred_bytes": None,
            "duration_ms": None,
            "source": {
                "ancestors": inodes(1, 4),
                "permissions": "0:0:755 0:0:755 1000:1000:644",
                "path": "/old/g",
                "name": "g",
            },
            **changes,
        }
    )
