"""What a storage has told, and the tree that a reader of it would know."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest

from schemas import codec
from storage_sim import inodes, outbox
from storage_sim.billing import Biller
from storage_sim.errors import OperationFailed
from storage_sim.storage import Storage

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from schemas.records import BillingRecord


def open_storage(folder: Path, *, depth: int = 0, **settings: Any) -> Storage:
    """Open a storage that does not wait for the disk."""
    return Storage(folder, biller=Biller("sim", depth), sync=False, **settings)


def records(storage: Storage) -> list[BillingRecord]:
    """Return all that is in the outbox, in the order of commits."""
    with storage.database.read() as db:
        found = outbox.pending(db, 0, 1_000_000)
    return [cast("BillingRecord", codec.decode("billing", row.value)) for row in found]


def rebuild(told: Iterable[BillingRecord]) -> dict[str, tuple[bytes, str, str]]:
    """Return the tree that follows from records alone: path to (inode, type, permission)."""
    tree: dict[str, tuple[bytes, str, str]] = {}
    for record in told:
        path = record["path"]
        fact = (record["inode"], record["type"], record["permissions"].rpartition(" ")[2])
        match record["kind"]:
            case "CREATE" | "MKDIR" | "SYMLINK":
                assert path not in tree
                tree[path] = fact
            case "DELETE" | "RMDIR":
                assert tree.pop(path)[0] == record["inode"]
            case "SETATTR":
                assert tree[path][0] == record["inode"]
                tree[path] = fact
            case "RENAME" if record["half"] != "FROM":
                _rename(tree, record)
            case _:
                pass
    return tree


def _rename(tree: dict[str, tuple[bytes, str, str]], record: BillingRecord) -> None:
    source, target = record["source"], record["path"]
    assert source is not None
    there = tree.pop(target, None)
    overwritten = record["overwritten"]
    assert (there and there[0]) == (overwritten and overwritten["inode"])
    moved = {
        path: fact for path, fact in tree.items() if (path + "/").startswith(source["path"] + "/")
    }
    assert moved[source["path"]][0] == record["inode"]
    for path, fact in moved.items():
        del tree[path]
        tree[target + path[len(source["path"]) :]] = fact


def actual(storage: Storage) -> dict[str, tuple[bytes, str, str]]:
    """Return the tree that is there: path to (inode, type, permission), without the root."""
    tree: dict[str, tuple[bytes, str, str]] = {}
    with storage.database.read() as db:
        ahead = [("", inodes.root(db))]
        while ahead:
            above, directory = ahead.pop()
            for inode in inodes.children(db, directory.id):
                path = f"{above}/{inode.name}"
                tree[path] = (inode.id, inode.type, inode.permission)
                if inode.is_directory:
                    ahead.append((path, inode))
    return tree


def refused(code: int) -> pytest.RaisesExc[OperationFailed]:
    """Expect a certain error number."""
    return pytest.RaisesExc(OperationFailed, check=lambda error: error.code == code)


def kinds(records: list[BillingRecord]) -> list[str]:
    """Return the records' kinds."""
    return [record["kind"] for record in records]
