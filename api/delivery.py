"""Delivery: from a subscription's past and Kafka's present to the bytes of a stream."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import secrets
from typing import TYPE_CHECKING, Any, Final, Protocol

from api import delivery_live, sse
from api.delivery_beginning import Given
from api.delivery_node import Node
from api.delivery_principals import Confirmer
from api.delivery_session import Session
from schemas import tasks
from schemas.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from api.channel_store import ChannelStore, Notice
    from api.delivery_message import Message
    from api.gatekeeper import Gatekeeper
    from pipeline.authz.principal import Principal
    from pipeline.event_types.base import EventType
    from pipeline.replay.log import ReplayLog

logger = logging.getLogger(__name__)

_RETRY_S: Final = 0.5
_LOOK_S: Final = 1.0
_REFRESH_S: Final = 10.0
_CURSORS_AT_ONCE: Final = 500

Stream = Session
"""One open stream, as `Hub.connect` returns it: `run(sink)` serves it until it ends."""


class Present(Protocol):
    """What reads Kafka (`feed.Feed`)."""

    connected: bool
    caught_up: bool

    async def run(
        self,
        deliver: Callable[[Message], None],
        learn: Callable[[Mapping[str, Mapping[str, int]]], None],
    ) -> None:
        """Read for ever."""


class Hub:
    """All that a node delivers: one per process.

    Args:
        store: channels and subscriptions.
        event_types: the derived ones (those with a topic), by name.
        logs: the replay log of each of them, by name.
        feed: what reads Kafka (`feed.Feed`).
        gatekeeper: asks the storage.
        server_key: 32 bytes that encipher event ids, equal on all nodes; b"": kept in the store.
        clock: epoch seconds.
        keep_alive_s: a comment line is sent to a quiet connection after so many seconds.
        unsent_limit_bytes: a connection with more unsent bytes than this gets no more for now.
        slow_reader_grace_s: and is cut off after so many seconds.
        principal_cache_s: how long it is believed who a connection's user is, in seconds.
    """

    def __init__(
        self,
        *,
        store: ChannelStore,
        event_types: Mapping[str, EventType],
        logs: Mapping[str, ReplayLog],
        feed: Present,
        gatekeeper: Gatekeeper,
        server_key: bytes = b"",
        clock: Callable[[], float],
        keep_alive_s: float = 15.0,
        unsent_limit_bytes: int = 1_048_576,
        slow_reader_grace_s: float = 10.0,
        principal_cache_s: float = 30.0,
    ) -> None:
        self._node = Node(
            store=store,
            event_types=event_types,
            logs=logs,
            gatekeeper=gatekeeper,
            clock=clock,
            unsent_limit_bytes=unsent_limit_bytes,
            slow_reader_grace_s=slow_reader_grace_s,
        )
        self._node.server_key = server_key
        self._deliver = functools.partial(delivery_live.deliver, self._node)
        self._store = store
        self._feed = feed
        self._keep_alive_s = keep_alive_s
        self._streams: dict[str, Session] = {}
        self._confirmer = Confirmer(
            gatekeeper, lambda: list(self._streams.values()), principal_cache_s
        )
        self._tasks: list[asyncio.Task[None]] = []
        self._listening = False
        self._stopping = False
        self._doubted: set[str] = set()
        self._look = asyncio.Event()

    async def start(self) -> None:
        """Begin to read Kafka and to listen to other nodes; returns at once, both are retried."""
        work: list[Callable[[], Coroutine[Any, Any, None]]] = [
            functools.partial(self._feed.run, self._deliver, self._node.learn),
            self._listen,
            self._keep_alive,
            self._keep_channels,
            self._keep_cursors,
            self._confirmer.run,
        ]
        self._tasks = [asyncio.create_task(_unceasing(one)) for one in work]

    async def stop(self) -> None:
        """Say SHUTDOWN on every stream, save the cursors, end everything; again does nothing."""
        self._stopping = True
        streams = list(self._streams.values())
        for stream in streams:
            stream.shut_down()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_REFRESH_S):
                for stream in streams:
                    await stream.ended.wait()
        await tasks.end(self._tasks)

    async def connect(
        self,
        channel_id: str,
        *,
        principal: Principal,
        credentials: Any,
        last_event_id: str | None = None,
        resume: bool = False,
        says_id: bool = False,
    ) -> Stream:
        """Attach a new connection to a channel; the old one, on whatever node, is told and ends.

        Args:
            channel_id: of this principal (the caller has checked `owner_key`).
            principal: who reads.
            credentials: handed to the gatekeeper.
            last_event_id: the header as it came, or None.
            resume: without a usable id, go on where the last connection was served to.
            says_id: begin with an id alone; only for who takes it as a browser does.

        Raises:
            NoSuchChannel: it is gone.
            Unavailable: the store is away; nothing was changed.
        """
        if self._stopping:
            raise Unavailable("this node stops", retry_after_s=1)
        if not self._node.server_key:
            self._node.server_key = await self._store.server_key()
        connection = secrets.token_hex(8)
        attachment = await self._store.attach(channel_id, connection)
        given = Given(
            self._node, attachment, last_event_id=last_event_id, resume=resume, says_id=says_id
        )
        old = self._streams.get(channel_id)
        if old is not None:
            old.finish(sse.COMPETING_CLIENT)
        session = Session(
            self._node,
            attachment,
            connection,
            principal=principal,
            credentials=credentials,
            given=given,
            on_end=self._forget,
        )
        self._streams[channel_id] = session
        if self._stopping:  # it began to stop while the store was asked
            session.shut_down()
        return session

    def marks(self, event_type: str) -> Mapping[str, int]:
        """Return how far each shard of an event type has come on this node."""
        return self._node.marks.get(event_type, {})

    def missing(self) -> list[str]:
        """Return what this node cannot do now, for readiness; empty when all is well."""
        found = {
            "the feed does not reach Kafka": self._feed.connected,
            "the feed has not come to the present yet": self._feed.caught_up,
            "news of other nodes are not heard (Redis)": self._listening,
        }
        return [sentence for sentence, well in found.items() if not well]

    @property
    def connections(self) -> int:
        """How many streams are open."""
        return len(self._streams)

    def _forget(self, session: Session) -> None:
        if self._streams.get(session.channel.id) is session:
            del self._streams[session.channel.id]

    async def _listen(self) -> None:
        """Hear what other nodes did to the channels served here."""
        while True:
            try:
                self._listening = True
                async for notice in self._store.notices():
                    self._hear(notice)
            except Unavailable as error:
                logger.warning("news of other nodes are not heard: %s", error)
            self._listening = False
            await asyncio.sleep(_RETRY_S)

    def _hear(self, notice: Notice) -> None:
        stream = self._streams.get(notice.channel_id)
        if stream is None:
            return
        if notice.kind == "closed":
            stream.finish(close_subscriptions=True)
        elif notice.kind == "changed":
            stream.changed(notice.sequence)
        elif notice.connection != stream.connection:
            # The notice may be older than this stream: the store knows who has the channel.
            self._doubted.add(notice.channel_id)
            self._look.set()

    async def _keep_alive(self) -> None:
        """Send a comment line to streams on which nothing was sent for a while."""
        parts = max(1, round(self._keep_alive_s))
        turn = 0
        while True:
            await asyncio.sleep(self._keep_alive_s / parts)
            turn = (turn + 1) % parts
            for stream in [one for one in self._streams.values() if one.turn % parts == turn]:
                stream.keep_alive()

    async def _keep_channels(self) -> None:
        """Give the channels served here signs of life, and find out what was missed."""
        due: dict[str, float] = {}
        loop = asyncio.get_running_loop()
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._look.wait(), _LOOK_S / 4)
            self._look.clear()
            doubted, self._doubted = self._doubted, set()
            now_s = loop.time()
            streams = [
                one
                for key, one in self._streams.items()
                if due.get(key, 0.0) <= now_s or key in doubted
            ]
            due = {key: when for key, when in due.items() if key in self._streams}
            try:
                answers = await self._store.refresh(
                    [(one.channel.id, one.connection) for one in streams]
                )
            except Unavailable:
                for stream in streams:
                    stream.store_was_away = True
                await asyncio.sleep(_LOOK_S)
                continue
            for stream, answer in zip(streams, answers, strict=True):
                if answer is None and stream.store_was_away:
                    # It ended while nobody could give it a sign of life, but its reader is here.
                    await self._restore(stream)
                    continue
                due[stream.channel.id] = now_s + min(_REFRESH_S, stream.timeout_s / 3)
                stream.refreshed(answer)

    async def _restore(self, stream: Session) -> None:
        with contextlib.suppress(Unavailable):
            await self._store.restore(stream.as_kept(), stream.connection)
            stream.store_was_away = False

    async def _keep_cursors(self) -> None:
        """Save how far streams were served, those first whose turn was longest ago."""
        while True:
            await asyncio.sleep(_LOOK_S)
            told = [one for one in self._streams.values() if one.told_since_saved]
            told = sorted(told, key=lambda one: one.saved_s)[:_CURSORS_AT_ONCE]
            try:
                await self._store.save_cursors([one.served() for one in told])
            except Unavailable:
                for stream in told:
                    stream.told_since_saved = True


async def _unceasing(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Do a hub's work for ever: a bug in one round must not leave a node deaf."""
    while True:
        try:
            await work()
        except Exception:
            logger.exception("a part of delivery failed and begins again")
        await asyncio.sleep(_RETRY_S)
