"""A position names an event for ever: (shard, number, index).

The number comes from the storage's outbox, so a position survives being published twice, derived
twice, another partition count or another cluster.
"""

from __future__ import annotations

from typing import NamedTuple


class Position(NamedTuple):
    """Where an event stands in its shard; positions of one shard compare by `number, index`."""

    shard: str
    number: int
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs here
