"""Which files a rule is about: what every kind of rule can ask of a file. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.rules.patterns import Pattern


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Files by place, name, size and owner; all that is asked must be so.

    Attributes:
        directories: where the file must be; empty: anywhere.
        recursive: whether below those directories counts, too.
        matching: the whole path must be like this; None: any.
        ignoring: where this is found in the path, the file is left alone.
        min_size_bytes: smaller files are left alone.
        max_size_bytes: larger files are left alone; None: no limit.
        owners: only files that one of these users wrote; empty: anyone's.
    """

    directories: tuple[str, ...] = ()
    recursive: bool = True
    matching: Pattern | None = None
    ignoring: Pattern | None = None
    min_size_bytes: int = 0
    max_size_bytes: int | None = None
    owners: frozenset[str] = frozenset()

    def selects(self, path: str, size_bytes: int, user: str) -> bool:
        """Whether a file of this path, size and owner is one of them."""
        return (
            (not self.directories or self._is_inside(path))
            and (self.matching is None or self.matching.is_whole(path))
            and (self.ignoring is None or not self.ignoring.is_found_in(path))
            and size_bytes >= self.min_size_bytes
            and (self.max_size_bytes is None or size_bytes <= self.max_size_bytes)
            and (not self.owners or user in self.owners)
        )

    def _is_inside(self, path: str) -> bool:
        parent = path.rpartition("/")[0]
        return any(
            parent == directory or (self.recursive and parent.startswith(directory + "/"))
            for directory in self.directories
        )
