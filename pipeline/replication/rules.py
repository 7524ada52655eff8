"""What a replication rule says, and which copies of which file follow from it. Pure."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from pipeline.rules.selection import Selection

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.rules.patterns import Substitution
    from pipeline.rules.storages import Storage

FOR_EVER: Final = None


class File(NamedTuple):
    """A replica, as rules see it.

    Attributes:
        storage: where it is.
        path: its path there.
        size_bytes: how large it is.
        user: who wrote it.
    """

    storage: str
    path: str
    size_bytes: int
    user: str


@dataclass(frozen=True, slots=True)
class Rule(Selection):
    """Which files of one storage are to be where else.

    Attributes:
        name: names the rule for ever: it is part of each copy's id.
        source: the storage whose files it is about.
        targets: storages that may hold copies.
        copies: how many of the targets must.
        derived: how the path at the targets follows from the path; None: the same.
        keep_s: after how many seconds the copies are removed; None: never.
        free_source: whether the original is removed when the copies are safe.
        free_after_s: how many seconds after that.
    """

    name: str
    source: str
    targets: tuple[str, ...]
    copies: int = 1
    derived: Substitution | None = None
    keep_s: float | None = FOR_EVER
    free_source: bool = False
    free_after_s: float = 0.0

    def is_about(self, file: File) -> bool:
        """Whether a replica that came to be is one that this rule wants elsewhere."""
        return (
            file.storage == self.source
            and self.selects(file.path, file.size_bytes, file.user)
            and self.target_path(file.path) is not None
        )

    def target_path(self, path: str) -> str | None:
        """Return where its copies are; None if the path cannot be derived."""
        return path if self.derived is None else self.derived.apply(path)

    def candidates(self, inode: bytes) -> list[str]:
        """Return the targets in the order in which this file prefers them.

        Rendezvous hashing: each file has an order of its own, so that copies spread evenly and a
        further target changes few of them.
        """
        return sorted(
            self.targets,
            key=lambda target: hashlib.sha256(target.encode() + b"\0" + inode).digest(),
        )


def copy_id(rule: str, storage: str, inode: bytes, target: str) -> str:
    """Return what names a copy for ever, whoever computes it how often: 32 hex digits."""
    text = f"{rule}\0{storage}\0{inode.hex()}\0{target}"
    return hashlib.sha256(text.encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class RuleSet:
    """All of a rules file that concerns replication.

    Attributes:
        rules: in the order of the file.
        storages: where the storages are, by name.
    """

    rules: tuple[Rule, ...] = ()
    storages: Mapping[str, Storage] = field(default_factory=dict)

    def named(self, name: str) -> Rule | None:
        """Return the rule of that name; None if there is none (any more)."""
        return next((rule for rule in self.rules if rule.name == name), None)
