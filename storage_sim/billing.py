"""From an operation to its billing record, with the shard's number, in the same transaction."""

from __future__ import annotations

import base64
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from schemas import codec, vocabulary
from storage_sim import namespace, outbox

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Mapping

    from pipeline.authz.principal import Principal
    from schemas.records import Source
    from storage_sim.inodes import Inode
    from storage_sim.walk import Place


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a request came from.

    Attributes:
        client: the client's address.
        door: the door's name.
        protocol: http, rest, http-tpc or internal.
    """

    client: str = ""
    door: str = "internal"
    protocol: str = "internal"


INTERNAL = Origin()


class Caller(NamedTuple):
    """Who does something, and from where.

    Attributes:
        principal: who.
        origin: from where.
    """

    principal: Principal
    origin: Origin


def epoch_us() -> int:
    """Return the time, in epoch microseconds."""
    return time.time_ns() // 1000


def _facts(
    caller: Caller, place: Place, inode: Inode, details: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what every record says, but for its number."""
    principal, origin = caller
    facts: dict[str, Any] = {
        "inode": inode.id,
        "ancestors": namespace.ids_of(place.above),
        "permissions": namespace.permissions_of((*place.above, inode)),
        "path": place.path,
        "name": place.name,
        "type": inode.type,
        "source": None,
        "overwritten": None,
        "half": vocabulary.Half.WHOLE.value,
        "twin": None,
        "cookie": None,
        "uid": principal.uid,
        "gids": list(principal.gids),
        "user": principal.user,
        "client": origin.client,
        "door": origin.door,
        "protocol": origin.protocol,
        "size_bytes": inode.size if inode.type == vocabulary.FileType.REGULAR else None,
        "transferred_bytes": None,
        "checksums": inode.checksums.split(),
        "duration_ms": None,
        "status_code": 0,
        "status_message": "",
        "locality": inode.locality,
        "attribute": None,
    }
    facts.update(details)
    return facts


class Biller:
    """Writes the records of one storage instance.

    Args:
        storage: the instance's name.
        shard_depth: how many path components belong to a shard.
        clock_us: the time, epoch microseconds.
    """

    def __init__(
        self, storage: str, shard_depth: int, *, clock_us: Callable[[], int] = epoch_us
    ) -> None:
        self.storage = storage
        self.shard_depth = shard_depth
        self.clock_us = clock_us
        self._encode = codec.encoder("billing")

    def shard_of(self, path: str) -> str:
        """Return the shard of the object at `path`."""
        return namespace.shard_of(self.storage, path, self.shard_depth)

    def bill(
        self,
        db: sqlite3.Connection,
        kind: vocabulary.Kind,
        place: Place,
        caller: Caller,
        **details: Any,
    ) -> None:
        """Write the record of an operation on the object at `place`, in the open transaction."""
        shard = self.shard_of(place.path)
        facts = _facts(caller, place, place.found, details)
        facts |= {"kind": kind.value, "operation": _new_operation()}
        self._write(db, shard, outbox.next_number(db, shard), facts)

    def bill_rename(
        self, db: sqlite3.Connection, source: Place, target: Place, moved: Inode, caller: Caller
    ) -> None:
        """Write the record of a rename; of a move across shards two, each naming the other.

        Args:
            db: the open transaction.
            source: the place before.
            target: the place after, holding what was overwritten, if anything.
            moved: the object as it is now.
            caller: who did it.
        """
        facts = _facts(caller, target, moved, {})
        facts |= {"kind": vocabulary.Kind.RENAME.value, "operation": _new_operation()}
        facts["cookie"] = base64.b64encode(secrets.token_bytes(16)).decode().rstrip("=")
        facts["source"] = _source(source)
        if (gone := target.inode) is not None:
            facts["overwritten"] = {
                "inode": gone.id,
                "type": gone.type,
                "permission": gone.permission,
            }
        old, new = self.shard_of(source.path), self.shard_of(target.path)
        if old == new:
            self._write(db, new, outbox.next_number(db, new), facts)
            return
        number_old, number_new = outbox.next_number(db, old), outbox.next_number(db, new)
        left = {
            "half": vocabulary.Half.FROM.value,
            "twin": {"shard": new, "number": number_new},
            "overwritten": None,
        }
        came = {
            "half": vocabulary.Half.TO.value,
            "twin": {"shard": old, "number": number_old},
        }
        self._write(db, old, number_old, facts | left)
        self._write(db, new, number_new, facts | came)

    def _write(
        self, db: sqlite3.Connection, shard: str, number: int, facts: Mapping[str, Any]
    ) -> None:
        time_us = self.clock_us()
        record = {
            **facts,
            "shard": shard,
            "number": number,
            "time_us": time_us,
            "storage": self.storage,
        }
        outbox.append(db, shard, time_us // 1000, self._encode(record))


def _source(place: Place) -> Source:
    return {
        "ancestors": namespace.ids_of(place.above),
        "permissions": namespace.permissions_of((*place.above, place.found)),
        "path": place.path,
        "name": place.name,
    }


def _new_operation() -> str:
    return secrets.token_hex(16)
