"""One stream from its opening to its end: its only task, asleep while the stream is live."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from typing import TYPE_CHECKING, Any

from api import access, sse
from api.channel_store import Attachment, Served
from api.delivery_admission import Admission
from api.delivery_beginning import hand_over, layers, reload
from api.delivery_endings import Endings
from api.delivery_metronome import TICKS, Ticker
from api.delivery_past import Past, SlowReader
from api.delivery_sink import Nowhere
from api.delivery_stream import Stream
from api.event_ids import Layer, normal
from api.signal import Signal
from schemas.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from api.channels import Subscription
    from api.delivery_beginning import Given
    from api.delivery_message import Member
    from api.delivery_node import Node
    from api.delivery_sink import Sink
    from pipeline.authz.principal import Principal

logger = logging.getLogger(__name__)


class Session(Stream):
    """An open stream with its life.

    Args:
        node: what streams share.
        attachment: the channel as this connection found it.
        connection: this connection's name.
        principal: who reads.
        credentials: for the gatekeeper.
        given: what is known of where it begins.
        on_end: called once when it is over.
    """

    def __init__(
        self,
        node: Node,
        attachment: Attachment,
        connection: str,
        *,
        principal: Principal,
        credentials: Any,
        given: Given,
        on_end: Callable[[Session], None],
    ) -> None:
        super().__init__(node, attachment.channel, connection, principal, credentials)
        self._attachment = attachment
        self._given = given
        self._endings = Endings(self)
        self._past = Past(self, self._endings)
        self._admission = Admission(self, self._endings)
        self._ticker = Ticker(self)
        self._task: asyncio.Task[Any] | None = None
        self._goodbye = b""
        self._changed: set[int] = set()
        self._is_stale = self._is_doubted = self._has_begun = self.store_was_away = False
        self._on_end = on_end
        self._expiry: asyncio.TimerHandle | None = None
        self.version = attachment.channel.version
        self.timeout_s = attachment.channel.timeout_s
        self.saved_s = 0.0
        self.confirmed_s = float("-inf")
        self.turn = next(node.keys)
        self.ended = Signal()

    async def run(self, sink: Sink) -> None:
        """Serve the stream until it ends, whoever ends it.

        Call it after the response headers were sent; it closes the sink.
        """
        self._task = asyncio.current_task()
        if self.sink is None:
            self.sink = sink
        self._watch_expiry()
        self.flush()
        try:
            if not self.finished:
                await self._serve()
        except asyncio.CancelledError:
            if not self.finished:
                raise
        except SlowReader:
            logger.info("a reader of channel %s is cut off: it does not read", self.channel.id[:6])
            sink.abort()
        finally:
            while self.finished and self._task is not None and self._task.cancelling():
                self._task.uncancel()
            await self._leave(sink)

    async def _serve(self) -> None:
        await self.node.learned.wait()
        await self._begin()
        await self._admission.check(list(self.members.values()))
        # Python 3.11's `wait_for` (in redis-py) can swallow a cancellation: `finished` counts.
        while not self.finished:
            await self._past.catch_up()
            if self.finished:
                break
            self._ticker.start()
            await self.wake.wait()
            self.wake.clear()
            await self._finished_metronomes()
            if self._is_doubted:
                self._is_doubted = False
                await self._recheck()
            if self._changed or self._is_stale:
                await self._news()

    def finish(self, kind: str = "", *, close_subscriptions: bool = False) -> None:
        """End the stream from outside.

        Args:
            kind: the SYSTEM event that says why; "": none.
            close_subscriptions: say SUBSCRIPTION_CLOSED of each first.
        """
        if self.finished:
            return
        self.finished = True
        self.fall_behind()  # nothing is told any more, though the end takes its time
        if close_subscriptions:
            for member in list(self.members.values()):
                if member.subscription.ended is None:
                    self.system(sse.SUBSCRIPTION_CLOSED, subscription=member.subscription.url)
        if kind:
            self._goodbye = sse.system(kind)
        self.wake.set()
        if self._task is not None:
            self._task.cancel()

    def shut_down(self) -> None:
        """Say that the node stops."""
        self.finish(sse.SHUTDOWN)

    def disconnected(self) -> None:
        """End the stream because its reader is gone; what is written from now on goes nowhere."""
        self.sink = Nowhere()
        self.finish()

    def changed(self, sequence: int) -> None:
        """Have a subscription (0: only the channel) looked up in the store."""
        self._changed.add(sequence)
        self.version += 1
        self.wake.set()

    async def _begin(self) -> None:
        """Find out from where each subscription is to be told."""
        attachment = await hand_over(self.node.store, self._attachment)
        for subscription in attachment.subscriptions:
            self._endings.expect(self.add(subscription))
        self.channel = attachment.channel
        self.generation = attachment.channel.generation
        self.seen = attachment.channel.seen_generation
        self.version = attachment.channel.version
        self.layers = layers(self, attachment, self._given)
        if self._given.says_id:
            self.send(b"", None, sse.id_alone(self.ids.salted(self.cursor())))
        self._has_begun = True
        del self._attachment, self._given  # thousands of idle streams need not keep them

    async def _news(self) -> None:
        """Take over what was changed in the store: what notices named, or all."""
        changed, self._changed = sorted(self._changed), set()
        new = [one for one in changed if one > self.generation]
        if new and new != [*range(self.generation + 1, self.generation + len(new) + 1)]:
            self._is_stale = True  # a notice was missed
        only, self._is_stale = None if self._is_stale else changed, False
        attachment = await reload(self.node.store, self.channel.id, only)
        if attachment is None:
            self.finish(close_subscriptions=True)
            return
        self.channel = attachment.channel
        self.ids.first_slot = next(iter(self.channel.slots), "")
        self.timeout_s = attachment.channel.timeout_s
        if only is None:
            self.version = attachment.channel.version
        known = self.generation
        for subscription in attachment.subscriptions:
            member = self.members.get(subscription.sequence)
            if subscription.sequence > known:
                self._take_in(subscription)
            elif member is not None and member.is_active:
                await self._compare(member, subscription)

    def _take_in(self, subscription: Subscription) -> None:
        """Add a subscription that is new."""
        self.flush()
        self.fall_behind()
        self._endings.expect(self.add(subscription))
        self.generation = subscription.sequence
        self.layers = list(normal([*self.layers, Layer(self.generation, {})]))
        if not subscription.continues:
            self.system(sse.NEW_SUBSCRIPTION, subscription=subscription.url)

    async def _finished_metronomes(self) -> None:
        """Tell the store of metronomes that have ticked their last."""
        while self._ticker.finished:
            one = self._ticker.finished.pop().subscription
            assert one.metronome is not None
            ended = {TICKS: one.metronome.count}
            try:
                await self.node.store.end(self.channel.id, one.sequence, ended, None)
            except Unavailable as error:
                logger.warning("a metronome ended that the store cannot be told of: %s", error)

    async def _compare(self, member: Member, subscription: Subscription) -> None:
        known = member.subscription
        if subscription.ended is not None:
            if not self._endings.adopt(member, subscription):
                await self._endings.revoke(member)
        elif (subscription.watch, subscription.selector) != (known.watch, known.selector):
            changed = known.replace(watch=subscription.watch, selector=subscription.selector)
            self.node.replace(member, changed)

    async def _recheck(self) -> None:
        """End what the reader may not watch any more."""
        for member in list(self.members.values()):
            if member.is_active and not access.is_allowed(self.principal, member.subscription):
                await self._endings.revoke(member)

    def confirm(self, principal: Principal | None) -> None:
        """Take the storage's answer to who the reader is now; None: they are not let in."""
        if principal is None:
            self.finish(sse.CREDENTIALS_REVOKED)
        elif principal != self.principal:
            self.become(principal)
            self._is_doubted = True
            self.wake.set()

    def _watch_expiry(self) -> None:
        """End the stream when the token ends."""
        expires_s = self.principal.restrictions.expires_s
        if expires_s is not None:
            loop, left_s = asyncio.get_running_loop(), max(0.0, expires_s - self.node.clock())
            self._expiry = loop.call_later(left_s, self.finish, sse.CREDENTIALS_EXPIRED)

    def keep_alive(self) -> None:
        """Send a comment line if nothing else was sent lately."""
        if self.quiet and not self.pending and self.sink is not None:
            self.sink.write(sse.KEEP_ALIVE)
        self.quiet = True

    def as_kept(self) -> Attachment:
        """Return channel and subscriptions, to make them again where the store lost them."""
        channel = dataclasses.replace(self.channel, seen_generation=self.seen)
        return Attachment(channel, [one.subscription for one in self.members.values()])

    def refreshed(self, answer: tuple[int, str] | None) -> None:
        """Take the store's answer to a sign of life."""
        if answer is None:
            self.finish(close_subscriptions=True)
            return
        version, connection = answer
        self.store_was_away = False
        if connection != self.connection:
            self.finish(sse.COMPETING_CLIENT)
        elif version != self.version:
            self._is_stale = True
            self.wake.set()

    def served(self) -> Served:
        """Write what waits; return how far the reader was served."""
        self.flush()
        self.told_since_saved, self.saved_s = False, time.monotonic()
        is_known = self._has_begun and (self.seen or not self.unheard)
        cursor = self.ids.encode(self.cursor()).decode() if is_known else ""
        return Served(self.channel.id, self.connection, cursor, self.seen)

    async def _leave(self, sink: Sink) -> None:
        """Say goodbye, save how far the reader was served, give everything back."""
        if self._expiry is not None:
            self._expiry.cancel()
        self._ticker.stop()
        self._on_end(self)
        served = self.served()
        (self.sink or sink).write(self._goodbye)
        sink.close()
        self.node.flusher.forget(self)
        for member in list(self.members.values()):
            self.drop(member)
        try:
            await asyncio.shield(self.node.store.detach(served))
        except Unavailable as error:
            logger.info("the end of a stream could not be kept: %s", error)
        finally:
            self.ended.set()
