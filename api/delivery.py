"""Delivery: from a subscription's past and Kafka's present to the bytes of a stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from api.channel_store import ChannelStore
    from api.gatekeeper import Gatekeeper
    from pipeline.authz.principal import Principal
    from pipeline.event_types.base import EventType
    from pipeline.replay.log import ReplayLog


class Sink(Protocol):
    """Where a stream's bytes go: a socket's transport, or a list in a test."""

    def write(self, data: bytes) -> None:
        """Hand over bytes; never blocks."""

    def unsent_bytes(self) -> int:
        """Return how many bytes wait to be sent."""

    async def drain(self) -> None:
        """Wait until the reader has taken most of it."""

    def close(self) -> None:
        """End the stream after what is unsent."""

    def abort(self) -> None:
        """End the stream at once."""


class Stream:
    """One open stream of one channel, as `Hub.connect` returned it."""

    async def run(self, sink: Sink) -> None:
        """Serve the stream until it ends, whoever ends it; cancel to end it from outside.

        Call it after the response headers were sent; it closes the sink.
        """
        raise NotImplementedError


class Hub:
    """All that a node delivers: one per process.

    Args:
        store: channels and subscriptions.
        event_types: by name.
        logs: the replay log of each event type, by name.
        feed: what reads Kafka (`feed.Feed`).
        gatekeeper: asks the storage.
        server_key: 32 bytes that encipher event ids, equal on all nodes; b"": kept in the store.
        clock: epoch seconds.
        keep_alive_s: a comment line is sent to a quiet connection after so many seconds.
        unsent_limit_bytes: a connection with more unsent bytes than this gets no more for now.
        slow_reader_grace_s: and is cut off after so many seconds.
        principal_check_s: how often it is asked who a connection's user is, in seconds.
    """

    def __init__(
        self,
        *,
        store: ChannelStore,
        event_types: Mapping[str, EventType],
        logs: Mapping[str, ReplayLog],
        feed: Any,
        gatekeeper: Gatekeeper,
        server_key: bytes = b"",
        clock: Callable[[], float],
        keep_alive_s: float = 15.0,
        unsent_limit_bytes: int = 1_048_576,
        slow_reader_grace_s: float = 10.0,
        principal_check_s: float = 30.0,
    ) -> None:
        raise NotImplementedError

    async def start(self) -> None:
        """Begin to read Kafka and to listen to other nodes; returns at once, both are retried."""
        raise NotImplementedError

    async def stop(self) -> None:
        """Say SHUTDOWN on every stream, save the cursors, end everything."""
        raise NotImplementedError

    async def connect(
        self,
        channel_id: str,
        *,
        principal: Principal,
        credentials: Any,
        last_event_id: str | None = None,
        resume: bool = False,
    ) -> Stream:
        """Attach a new connection to a channel; the old one, on whatever node, is told and ends.

        Args:
            channel_id: a channel of this principal's (the caller has checked `owner_key`).
            principal: who reads.
            credentials: handed to the gatekeeper as they are.
            last_event_id: the header as it came, or None.
            resume: without a usable id, go on where the last connection was served to.

        Raises:
            NoSuchChannel: it is gone.
            Unavailable: the store is away; nothing was changed.
        """
        raise NotImplementedError

    def marks(self, event_type: str) -> Mapping[str, int]:
        """Return how far each shard of an event type has come on this node."""
        raise NotImplementedError

    def missing(self) -> list[str]:
        """Return what this node cannot do now, for readiness; empty when all is well."""
        raise NotImplementedError

    @property
    def connections(self) -> int:
        """How many streams are open."""
        raise NotImplementedError
