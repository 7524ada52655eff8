"""What a watch is told, in a form that Linux and the storage have in common."""

from __future__ import annotations

from typing import NamedTuple

from schemas import vocabulary


class Told(NamedTuple):
    """One event.

    Attributes:
        watch: which watch, as the kernel numbers them.
        mask: bits of inotify(7).
        name: of the entry; empty for the watched object's own events.
        paired: whether it has a cookie.
    """

    watch: int
    mask: int
    name: str
    paired: bool

    def __repr__(self) -> str:
        names = "|".join(vocabulary.mask_names(self.mask))
        return f"{self.watch}:{names}:{self.name}{'*' if self.paired else ''}"
