"""The deriving agent: billing in, every event type's topic out, acknowledged when Kafka has it.

The shape: decode, derive (pure, `derivation`), send, wait for all, finish the chunk. While one
chunk is being sent the next is derived, but each partition's chunks are sent one after the other.
Kafka away: the chunk is tried again until it works or the partition is taken away.
"""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING, Any

from mode import get_logger

from pipeline.agents.derivation import Derivation, source_of
from pipeline.agents.outage import Outage
from pipeline.dead_letter import Rejected
from schemas.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from pipeline.agents.derivation import Derived
    from pipeline.dead_letter import DeadLetters
    from pipeline.event_types.base import EventType
    from pipeline.metrics import Metrics
    from pipeline.transport.leases import Chunk, Lease
    from pipeline.transport.producer import BatchProducer, Message

logger = get_logger(__name__)

NAME = "derive"
_MAX_SENDING = 16
_FIRST_WAIT_S = 0.1
_MAX_WAIT_S = 5.0


class Deriver:
    """What the deriving agent does with each chunk.

    Args:
        event_types: what to derive.
        topics: the topic of each event type, by its name.
        producer: where messages go.
        dead_letters: where unusable records go.
        metrics: counters.
        make_topics: makes those that are missing, if Kafka lets it; called before a second try.
        on_bug: called with an exception that nobody expected; it should end the process.
    """

    def __init__(
        self,
        *,
        event_types: Sequence[EventType],
        topics: Mapping[str, str],
        producer: BatchProducer,
        dead_letters: DeadLetters,
        metrics: Metrics,
        make_topics: Callable[[], Awaitable[None]],
        on_bug: Callable[[BaseException], None],
    ) -> None:
        self._event_types = event_types
        self._topics = topics
        self._producer = producer
        self._dead_letters = dead_letters
        self._metrics = metrics
        self._make_topics = make_topics
        self._on_bug = on_bug
        self._outage = Outage("Deriving waits for Kafka", logger)
        self._derivations: dict[int, tuple[Lease, Derivation]] = {}
        self._sending: dict[int, tuple[Chunk, asyncio.Task[None]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def take(self, chunk: Chunk) -> None:
        """Derive from a chunk and begin to send what follows; returns before it is sent."""
        if not chunk.take():
            return
        derived = self._derivation(chunk.lease).derive(chunk.records)
        self._report(chunk, derived)
        before = self._sending.get(chunk.partition)
        task = asyncio.create_task(self._deliver(chunk, derived, before))
        self._sending[chunk.partition] = (chunk, task)
        self._tasks.add(task)
        task.add_done_callback(self._on_done)
        while len(self._tasks) >= _MAX_SENDING:
            await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.sleep(0)

    def _derivation(self, lease: Lease) -> Derivation:
        known = self._derivations.get(lease.partition)
        if known is None or known[0] is not lease:
            known = self._derivations[lease.partition] = (lease, Derivation(self._event_types))
        return known[1]

    def _report(self, chunk: Chunk, derived: Derived) -> None:
        self._metrics.add("records_total", len(chunk.records))
        self._metrics.add("repeats_total", derived.repeats)
        self._metrics.add("holes_total", len(derived.holes))
        self._metrics.add("dead_letters_total", len(derived.rejected))
        for name, messages in derived.messages.items():
            self._metrics.add("events_total", len(messages), event_type=name)
        for hole in derived.holes:
            logger.error(
                "Shard %s lacks numbers %d to %d: events are lost upstream (%s-%d)",
                hole.shard, hole.first, hole.last, chunk.topic, chunk.partition,
            )  # fmt: skip
        for rejected in derived.rejected:
            logger.warning(
                "To the dead letters: %s-%d@%d: %s",
                chunk.topic, chunk.partition, rejected.record.offset, rejected.reason,
            )  # fmt: skip

    async def _deliver(
        self, chunk: Chunk, derived: Derived, before: tuple[Chunk, asyncio.Task[None]] | None
    ) -> None:
        try:
            if before is not None:
                await asyncio.wait([before[1]])
                if before[0].lease is chunk.lease and not before[0].is_finished:
                    return  # never send what comes after something that was given up
            await self._until_sent(chunk, derived)
        finally:
            chunk.abandon()

    async def _until_sent(self, chunk: Chunk, derived: Derived) -> None:
        rest: list[Callable[[], Awaitable[None]]] = [
            functools.partial(self._send_output, chunk, name, messages)
            for name, messages in derived.messages.items()
            if messages
        ]
        rest.append(functools.partial(self._send_rejected, chunk, derived.rejected))
        wait_s = _FIRST_WAIT_S
        try:
            while rest := await self._try_all(rest, chunk.partition):
                if chunk.lease.has_ended:
                    return
                await self._make_topics()
                await asyncio.sleep(wait_s)
                wait_s = min(2 * wait_s, _MAX_WAIT_S)
        finally:
            self._outage.over(chunk.partition)
        chunk.finish()

    async def _try_all(
        self, sends: Sequence[Callable[[], Awaitable[None]]], partition: int
    ) -> list[Callable[[], Awaitable[None]]]:
        """Send; return what Kafka did not take. Nothing is under way any more then."""
        results = await asyncio.gather(*(send() for send in sends), return_exceptions=True)
        for result in results:
            if isinstance(result, Unavailable):
                self._outage.note(result, partition)
            elif result is not None:
                raise result
        return [send for send, result in zip(sends, results, strict=True) if result is not None]

    async def _send_rejected(self, chunk: Chunk, rejected: list[Rejected]) -> None:
        while rejected:
            await self._dead_letters.send(NAME, chunk.topic, chunk.partition, rejected[:1])
            del rejected[0]

    async def _send_output(self, chunk: Chunk, name: str, messages: Sequence[Message]) -> None:
        for message in await self._producer.send(self._topics[name], chunk.partition, messages):
            await self._set_aside(chunk, name, message)

    async def _set_aside(self, chunk: Chunk, name: str, message: Message) -> None:
        reason = f"{name}: a message of {len(message.value)} bytes is too large for the broker"
        logger.error("%s (%s-%d)", reason, chunk.topic, chunk.partition)
        self._metrics.add("dead_letters_total", 1)
        rejected = [Rejected(source_of(message.value, chunk.records), reason)]
        await self._dead_letters.send(NAME, chunk.topic, chunk.partition, rejected)

    def _on_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._on_bug(task.exception())  # type: ignore[arg-type]

    async def stop(self) -> None:
        """End what is still being sent; it is read again by the next worker."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def make_deriving_agent(app: Any, *, topic: str, deriver: Deriver) -> Any:
    """Make the agent that derives from `topic`.

    Args:
        app: a `pipeline.transport.consumer.BatchApp`.
        topic: the billing topic's full name.
        deriver: what it does.
    """

    async def derive(chunks: Any) -> None:
        async for chunk in chunks:
            try:
                await deriver.take(chunk)
            except Exception as error:
                # A bug: Faust would go on with the next chunk; the partition would stand still.
                await app.crash(error)
                raise

    return app.agent(app.batch_topic(topic), name=NAME)(derive)
