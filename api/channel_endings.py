"""Where a subscription ends, and what is remembered of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from api.channels import INOTIFY, LAST_RANK

if TYPE_CHECKING:
    from collections.abc import Mapping

    from api.channels import Subscription


def ending(
    subscription: Subscription, marks: Mapping[str, int]
) -> tuple[dict[str, int], tuple[str, int, int] | None]:
    """Say where a subscription ends that is ended now, and where its IN_IGNORED stands.

    Where that is before it begins (the storage was further on when it was made), see `ended_at`.

    Args:
        subscription: what ends.
        marks: how far each shard of its event type has come.

    Returns:
        For each shard the number after which nothing is told, and the position (shard, number,
        rank) of the IN_IGNORED; None for types that have none.
    """
    if subscription.metronome is not None:
        return {}, None
    shards = [subscription.shard] if subscription.shard else sorted({*marks, *subscription.since})
    ended = {shard: marks.get(shard, 0) for shard in shards}
    if subscription.event_type != INOTIFY or not ended:
        return ended, None
    shard = shards[0]
    return ended, (shard, ended[shard], LAST_RANK)


def ended_at(
    subscription: Subscription, ended: Mapping[str, int], end: tuple[str, int, int] | None
) -> Subscription:
    """Return what an ended subscription is remembered as.

    One that ends before it begins also begins there. It tells nothing but its ending, and that
    need not wait for the number it would have begun after: if what has that number tells nobody
    anything, readers hear of it with the shard's next event, whenever that is.
    """
    since = {shard: min(one, ended.get(shard, one)) for shard, one in subscription.since.items()}
    return subscription.replace(since=since, ended=dict(ended), end=end)
