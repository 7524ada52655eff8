"""What a rule makes of an upload: a trigger, and the trigger as a CloudEvent on Kafka. Pure.

The event is CloudEvents 1.0 in Kafka's binary mode: attributes in headers, as data a JSON object
of named URLs. Its id follows from the upload's position and the rule's name, so a trigger that is
sent twice (after a crash) is recognised by everyone who keeps ids.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from pipeline.authz import scope
from schemas.errors import BadRecord
from schemas.vocabulary import FILE_ID_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pipeline.ingest.rules import Rule
    from schemas.records import BillingRecord

EVENT_TYPE: Final = "storage-events.ingest"
SPEC_VERSION: Final = "1.0"
_PREFIX: Final = "ce_"
_SPACE: Final = 0x20
_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,100}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Trigger:
    """One upload that one rule is about.

    Attributes:
        id: `shard:number:rule`.
        rule: the rule's name.
        function: what to run; empty: whoever listens knows.
        storage: the storage's name.
        path: the uploaded file.
        time_us: when the upload was committed, epoch microseconds.
        user: who uploaded it.
        size_bytes: its size.
        inode: its id, 36 hex digits.
        ancestors: the ids of the directories above it, 36 hex digits each, root first.
        permissions: who could see it then, as in `billing`.
    """

    id: str
    rule: str
    function: str
    storage: str
    path: str
    time_us: int
    user: str
    size_bytes: int
    inode: str
    ancestors: str
    permissions: str


def trigger(rule: Rule, record: BillingRecord) -> Trigger:
    """Return what `rule` makes of an upload."""
    return Trigger(
        id=f"{record['shard']}:{record['number']}:{rule.name}",
        rule=rule.name,
        function=rule.function,
        storage=record["storage"],
        path=record["path"],
        time_us=record["time_us"],
        user=record["user"],
        size_bytes=record["size_bytes"] or 0,
        inode=record["inode"].hex().upper(),
        ancestors=record["ancestors"].hex().upper(),
        permissions=record["permissions"],
    )


def paths(rule: Rule, uploaded: str) -> dict[str, str]:
    """Return the path of each of the rule's URLs.

    Raises:
        BadRecord: one cannot be derived, or would be the uploaded file itself.
    """
    if any(ord(character) < _SPACE for character in uploaded):
        raise BadRecord(f"{uploaded!r}: no macaroon can name a path with control characters")
    found: dict[str, str] = {}
    for url in rule.urls:
        path = url.path(uploaded)
        if path is None:
            raise BadRecord(
                f"rule {rule.name!r}, URL {url.name!r}: 'replacing' is not found in {uploaded}"
            )
        if url.derived is not None and not _is_sound(path, uploaded):
            raise BadRecord(
                f"rule {rule.name!r}, URL {url.name!r}: {uploaded} gives {path!r}, which is no "
                "path of another file"
            )
        found[url.name] = path
    return found


def _is_sound(path: str, uploaded: str) -> bool:
    parts = path.split("/")
    return parts[0] == "" and path != uploaded and not {"", ".", ".."} & set(parts[1:])


def headers(trigger: Trigger) -> list[tuple[str, bytes]]:
    """Return the Kafka headers of a trigger: CloudEvents' own attributes and our extensions."""
    when = datetime.fromtimestamp(trigger.time_us / 1_000_000, UTC)
    attributes = {
        "specversion": SPEC_VERSION,
        "id": trigger.id,
        "source": f"/storages/{trigger.storage}",
        "type": EVENT_TYPE,
        "time": when.isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "subject": trigger.path,
        "partitionkey": trigger.path,
        "rule": trigger.rule,
        "function": trigger.function,
        "user": trigger.user,
        "sizebytes": str(trigger.size_bytes),
        "inode": trigger.inode,
        "ancestors": trigger.ancestors,
        "permissions": trigger.permissions,
    }
    return [
        ("content-type", b"application/json"),
        *((_PREFIX + name, value.encode()) for name, value in attributes.items() if value),
    ]


def value(urls: Mapping[str, str]) -> bytes:
    """Return a trigger's data."""
    return json.dumps(urls, separators=(",", ":")).encode()


def about(found: Sequence[tuple[str, bytes]]) -> Trigger:
    """Read what a trigger is from its headers on Kafka.

    Raises:
        BadRecord: an attribute is missing, or is not what it should be.
    """
    try:
        said = {name.lower().removeprefix(_PREFIX): text.decode() for name, text in found}
        scope.named_scope(said["permissions"])
        ids = (bytes.fromhex(said["inode"]), bytes.fromhex(said["ancestors"]))
        if len(ids[0]) != FILE_ID_BYTES or len(ids[1]) % FILE_ID_BYTES or not ids[1]:
            raise BadRecord("a trigger's inode and ancestors are ids of 36 hex digits each")
        when = datetime.fromisoformat(said["time"])
        return Trigger(
            id=said["id"],
            rule=said["rule"],
            function=said.get("function", ""),
            storage=said["source"].rpartition("/")[2],
            path=said["subject"],
            time_us=round(when.timestamp() * 1_000_000),
            user=said.get("user", ""),
            size_bytes=int(said.get("sizebytes", "0")),
            inode=said["inode"],
            ancestors=said["ancestors"],
            permissions=said["permissions"],
        )
    except (KeyError, ValueError) as error:
        raise BadRecord(f"not a trigger: {type(error).__name__}: {error}") from error


def read(found: Sequence[tuple[str, bytes]], data: bytes | None) -> tuple[Trigger, dict[str, str]]:
    """Read a trigger back from Kafka: what it is, and its named URLs.

    Raises:
        BadRecord: an attribute is missing, or the data is not a JSON object of texts.
    """
    trigger = about(found)
    try:
        urls = json.loads(data or b"")
    except ValueError as error:
        raise BadRecord(f"not a trigger: {type(error).__name__}: {error}") from error
    if not isinstance(urls, dict) or not all(isinstance(url, str) for url in urls.values()):
        raise BadRecord("a trigger's data must be a JSON object of named URLs")
    if not all(_NAME.fullmatch(name) for name in urls):
        raise BadRecord("a trigger's URL names are letters, digits, dot, - and _")
    return trigger, urls
