"""Billing records for load: a seeded mix of operations over a tree of directories.

The mix is that of a busy disk system: three uploads (begin and end) to four reads, some deletes,
renames and attribute changes. Numbers run without holes in each shard, as the outbox makes them.
"""

from __future__ import annotations

import hashlib
import random
import time
from typing import TYPE_CHECKING, Any

from schemas import codec
from schemas.vocabulary import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator

_MIX = (
    [Kind.CREATE, Kind.UPLOAD] * 3
    + [Kind.READ] * 4
    + [Kind.DELETE, Kind.RENAME, Kind.SETATTR, Kind.UPLOAD]
)
# Kafka lets go of records by their timestamps, so these are of now.
_START_US = int(time.time()) * 1_000_000


def file_id(text: str) -> bytes:
    """Return the 18 bytes that name an inode in these records."""
    return hashlib.sha256(text.encode()).digest()[:18]


class Directory:
    """A directory of the tree: its path and what a record says about where it is."""

    def __init__(self, path: str, permission: str = "1000:1000:755") -> None:
        parts = path.strip("/").split("/")
        paths = ["/"] + ["/" + "/".join(parts[: n + 1]) for n in range(len(parts))]
        self.path = path
        self.id = file_id(path)
        self.ancestors = b"".join(file_id(one) for one in paths)
        self.permissions = " ".join(["0:0:755"] + [permission] * len(parts))


def tree(directories: int, shard: str = "sim") -> list[Directory]:
    """Return directories three levels below the root, 40 runs to an experiment."""
    return [
        Directory(f"/data/exp{n // 40}/run{n}" if shard == "sim" else f"/{shard}/e{n // 40}/r{n}")
        for n in range(directories)
    ]


def records(
    count: int, *, shards: int = 1, directories: int = 40, seed: int = 1, first: int = 1
) -> Iterator[dict[str, Any]]:
    """Yield billing records, the shards taking turns.

    Args:
        count: how many.
        shards: over how many shards.
        directories: how many directories each shard has.
        seed: the same seed gives the same records.
        first: the first number of each shard.
    """
    rng = random.Random(seed)
    names = ["sim"] if shards == 1 else [f"sim{n}" for n in range(shards)]
    trees = {name: tree(directories, name) for name in names}
    for index in range(count):
        shard = names[index % shards]
        number = first + index // shards
        yield record(shard, number, rng.choice(_MIX), rng, trees[shard])


def record(
    shard: str, number: int, kind: str, rng: random.Random, directories: list[Directory]
) -> dict[str, Any]:
    """Return one billing record of an operation on a file in one of `directories`."""
    where = rng.choice(directories)
    name = f"scan_{rng.randrange(100_000):06}.nxs"
    permission = "1000:1000:644"
    size = rng.randrange(1, 10**9)
    moves = kind in {Kind.UPLOAD, Kind.READ}
    source = None
    if kind == Kind.RENAME:
        old = rng.choice(directories)
        source = {
            "ancestors": old.ancestors,
            "permissions": f"{old.permissions} {permission}",
            "path": f"{old.path}/tmp_{name}",
            "name": f"tmp_{name}",
        }
    return {
        "shard": shard,
        "number": number,
        "operation": f"{rng.getrandbits(128):032x}",
        "time_us": _START_US + number * 25,
        "storage": "sim",
        "kind": str(kind),
        "inode": file_id(f"{where.path}/{name}"),
        "ancestors": where.ancestors,
        "permissions": f"{where.permissions} {permission}",
        "path": f"{where.path}/{name}",
        "name": name,
        "type": "REGULAR",
        "source": source,
        "overwritten": None,
        "half": "WHOLE",
        "twin": None,
        "cookie": f"{rng.getrandbits(128):022x}"[:22] if source else None,
        "uid": 1000,
        "gids": [1000, 1001],
        "user": "alice",
        "client": "192.0.2.17",
        "door": "webdav-1",
        "protocol": "http",
        "size_bytes": size,
        "transferred_bytes": size if moves else None,
        "checksums": ["adler32:defb67e1"] if kind == Kind.UPLOAD else [],
        "duration_ms": rng.randrange(1, 5000) if moves else None,
        "status_code": 0,
        "status_message": "",
        "locality": "ONLINE",
        "attribute": "times" if kind == Kind.SETATTR else None,
    }


def encoded(count: int, **options: Any) -> Iterator[tuple[bytes, bytes, int]]:
    """Yield (key, value, timestamp in ms) of billing records, as the publisher writes them."""
    encode = codec.encoder("billing")
    for one in records(count, **options):
        yield one["shard"].encode(), encode(one), one["time_us"] // 1000
