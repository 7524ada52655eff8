"""Whether a stream's subscriptions are still allowed when it is opened; the storage decides.

What is not where it was may have been moved (its watch goes with it), deleted (then its events up
to that are still told) or closed to this user (then nothing is told any more). Users are answered
the same to all three; we ask where the object is in our own name. A storage that does not tell
that leaves us to look in the replay log what became of it, and not for ever.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from api import access, channels, event_ids, matcher
from schemas import codec
from schemas.errors import BadRecord, Unavailable
from schemas.vocabulary import Kind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from api.channels import Place, Subscription
    from api.delivery_endings import Endings
    from api.delivery_message import Member
    from api.delivery_stream import Stream

DOUBT_S: Final = 1.0
"""How long the replay log is asked what became of an object when the storage does not tell."""

_RETRY_S: Final = 0.1
_AT_ONCE: Final = 16


class Admission:
    """Checks the subscriptions of one stream."""

    def __init__(self, stream: Stream, endings: Endings) -> None:
        self._stream = stream
        self._node = stream.node
        self._endings = endings

    async def check(self, members: Sequence[Member]) -> None:
        """Ask the storage about each, and end those that are allowed no more."""
        gate = asyncio.Semaphore(_AT_ONCE)

        async def check(member: Member) -> None:
            async with gate:
                await self._check(member)

        asked = [one for one in members if one.subscription.inode and one.is_active]
        if len(asked) == 1:
            await self._check(asked[0])
        elif asked:
            await asyncio.gather(*(check(member) for member in asked))

    async def _check(self, member: Member) -> None:
        path, refused = member.subscription.path, ""
        while True:
            try:
                found = await self._place(member.subscription, path)
                if found is not None:
                    await self._take(member, found)
                    return
                where = await self._node.gatekeeper.path_of(member.subscription.inode)
            except Unavailable:
                await asyncio.sleep(_RETRY_S)
                continue
            if not where.is_told:
                await self._search(member)
                return
            if where.path is None:
                return  # deleted: all up to its last event is told, whenever that event comes
            if refused == where.path:
                await self._endings.forfeit(member)
                return
            # It may have been on its way: who is refused twice at one place is refused.
            path, refused = where.path, path if path == where.path else ""

    async def _search(self, member: Member) -> None:
        """Find out from the log alone what became of an object that its user cannot see."""
        loop = asyncio.get_running_loop()
        ends_s = loop.time() + DOUBT_S
        while True:
            try:
                found = await self._place(member.subscription, member.subscription.path)
                if found is not None:
                    await self._take(member, found)
                    return
                now = await self._look(member)
            except Unavailable:
                ends_s = loop.time() + DOUBT_S
            else:
                if now is None:
                    return
                if now.path != member.subscription.path:
                    self._node.replace(member, now)
                    continue
                if loop.time() > ends_s:
                    await self._endings.forfeit(member)
                    return
            await asyncio.sleep(_RETRY_S)

    async def _place(self, one: Subscription, path: str) -> Place | None:
        credentials = self._stream.credentials
        found = await self._node.gatekeeper.place(credentials, path, follow=False)
        return found if found is not None and found.inode == one.inode else None

    async def _take(self, member: Member, found: Place) -> None:
        """Go on with an object where it is now; its ways through shards are told in the past."""
        one = member.subscription
        now = channels.moved(one, found)
        member.admitted = found.positions
        if not access.is_allowed(self._stream.principal, now):
            await self._endings.forfeit(member)
        elif now.shard == one.shard:
            member.checked = {**member.checked, **found.positions}
            self._node.replace(member, now)
        else:
            self._stream.homes[member.sequence] = now.shard

    async def _look(self, member: Member) -> Subscription | None:
        """Read in the log where an object went; None: it was deleted."""
        one = member.subscription
        event_type = self._node.event_types[one.event_type]
        inodes = matcher.split(one.ancestors + one.inode)
        tell, log = event_type.tell, self._node.logs[event_type.name]
        for shard in self._node.shards(one):
            slot = channels.slot_name(one.event_type, shard)
            after = event_ids.read_from(self._stream.start(member, slot, shard))
            up_to = self._node.marks[one.event_type].get(shard, 0)
            await log.wait_for(shard, up_to, DOUBT_S)
            async for chunk in log.read(shard, inodes, [], after, up_to):
                for _, value in chunk:
                    try:
                        record = codec.decode(event_type.topic.schema, value)
                    except BadRecord:
                        continue
                    if record.get("kind") == Kind.RENAME:
                        one = access.after_change(one, record)
                    if any(told.ends_watch for told in tell(record, one.watch, one.inode)):
                        return None
        return one
