"""What the storage tells about a place, as its REST writes it and as this service reads it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from api.channels import Place
from schemas.vocabulary import FILE_ID_BYTES, FileType

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Child:
    """One entry of a directory, or of everything below it.

    Attributes:
        name: the entry's name, or its path below the directory when asked recursively.
        attributes: the storage's JSON object.
    """

    name: str
    attributes: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Found:
    """What stands at a path, read at one instant.

    Attributes:
        place: where it is, and how far every shard had come at that instant (no positions when
            the storage does not tell them).
        type: REGULAR, DIR, LINK.
        may_watch: whether this user may list it (a directory) or read it (others).
        children: its entries, if asked for.
    """

    place: Place
    type: str
    may_watch: bool
    children: tuple[Child, ...] = ()


class Whereabouts(NamedTuple):
    """Where an object is, whoever may see it.

    Attributes:
        is_told: whether the storage says so at all.
        path: its absolute storage path; None: it was deleted.
    """

    is_told: bool
    path: str | None


UNTOLD: Final = Whereabouts(is_told=False, path=None)


def file_id(text: object) -> bytes:
    """Read a file id of 36 hex digits.

    Raises:
        ValueError: it is none.
    """
    raw = bytes.fromhex(str(text))
    if len(raw) != FILE_ID_BYTES:
        raise ValueError(text)
    return raw


def with_positions(place: Place, positions: Mapping[str, int]) -> Place:
    """Return a place with positions from elsewhere, for a storage that tells none."""
    return dataclasses.replace(place, positions=dict(positions))


def permission(content: Mapping[str, Any]) -> str:
    """Return an object's permission as billing records have it, from dCache's attributes."""
    return f"{content.get('owner', 0)}:{content.get('group', 0)}:{int(content.get('mode', 0)):o}"


def children(content: Mapping[str, Any]) -> tuple[Child, ...]:
    """Return a directory's entries, if they were asked for."""
    return tuple(Child(str(child["fileName"]), child) for child in content.get("children", ()))


def told(content: Mapping[str, Any]) -> Found:
    """Read the answer of a storage that tells `watch`."""
    watch = content["watch"]
    kind = str(content["fileType"])
    place = Place(
        inode=file_id(content["pnfsId"]),
        is_directory=kind == FileType.DIR,
        shard=str(watch["shard"]),
        positions={str(shard): int(number) for shard, number in watch["positions"].items()},
        path=str(watch["path"]),
        ancestors=b"".join(file_id(inode) for inode in watch["ancestors"]),
        permissions=str(watch["permissions"]),
        shard_depth=int(watch.get("shardDepth", 0)),
    )
    return Found(place, kind, bool(watch["mayWatch"]), children(content))


def walked(path: str, above: Sequence[Mapping[str, Any]], content: Mapping[str, Any]) -> Found:
    """Put together what a storage without `watch` told: the directories above, and the object.

    It has told that the user may watch it by answering.
    """
    kind = str(content["fileType"])
    place = Place(
        inode=file_id(content["pnfsId"]),
        is_directory=kind == FileType.DIR,
        shard="",
        positions={},
        path=path,
        ancestors=b"".join(file_id(directory["pnfsId"]) for directory in above),
        permissions=" ".join(permission(one) for one in (*above, content)),
    )
    return Found(place, kind, may_watch=True, children=children(content))
