"""What a night at the telescope comes to, known by events alone: how many files are how far."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError

from deploy.local.observatory import FACILITY, MOUNTAIN
from pipeline.event_types import ingest, replication
from schemas import codec

if TYPE_CHECKING:
    import threading
    from collections.abc import Mapping

RAW, DERIVED = "/raw/", "/derived/"
OUTPUTS = (".png", ".json")
_POLL_MS = 200
_AGAIN_S = 0.5


@dataclass
class Night:
    """How far the exposures are; names are without directory and suffix.

    Attributes:
        observed: they were stored on the mountain.
        safe: the facility has them.
        processed: their function is done.
        failed: why a function was given up.
        returned: files that went back to the mountain (two for each).
        freed: the mountain's copy is gone.
        outcomes: for each exposure, the events that told the outcome of its function.
        ended_s: when the newest event came, epoch seconds.
    """

    observed: set[str] = field(default_factory=set)
    safe: set[str] = field(default_factory=set)
    processed: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)
    returned: set[str] = field(default_factory=set)
    freed: set[str] = field(default_factory=set)
    outcomes: dict[str, set[tuple[str, int]]] = field(default_factory=dict)
    ended_s: float = 0.0

    def take(self, kind: str, message: Mapping[str, Any]) -> None:
        """Take in one event of type `replication` or `ingest`."""
        self.ended_s = time.time()
        path = message["path"]
        name = path.rpartition("/")[2].removesuffix(".fits")
        if kind == ingest.EVENT_TYPE.name:
            if message["state"] != ingest.STARTED:
                event = (message["shard"], message["number"])
                self.outcomes.setdefault(name, set()).add(event)
            if message["state"] == ingest.DONE:
                self.processed.add(name)
            elif message["state"] == ingest.FAILED:
                self.failed[name] = message["reason"]
            return
        where = (message["storage"], message["change"], path.startswith(RAW))
        if where == (MOUNTAIN, replication.ADDED, True):
            self.observed.add(name)
        elif where == (FACILITY, replication.ADDED, True):
            self.safe.add(name)
        elif where == (MOUNTAIN, replication.ADDED, False):
            self.returned.add(path)
        elif where == (MOUNTAIN, replication.REMOVED, True):
            self.freed.add(name)

    def steps(self, count: int) -> list[tuple[str, str, int, int]]:
        """Return what there is to do with `count` exposures.

        Returns:
            For each step a word, what it is, how many are done, of how many.
        """
        return [
            ("observed", "observed, stored on the mountain", len(self.observed), count),
            ("safe", "safe at the facility", len(self.safe), count),
            ("processed", "preview and metadata made there", len(self.processed), count),
            ("returned", "both back on the mountain", len(self.returned), count * len(OUTPUTS)),
            ("freed", "the mountain's disk freed", len(self.freed), count),
        ]

    def twice(self) -> list[str]:
        """Return the exposures that had more than one outcome."""
        return [
            f"{name}: told by {sorted(events)}"
            for name, events in sorted(self.outcomes.items())
            if len(events) > 1
        ]

    def is_over(self, count: int) -> bool:
        """Whether all of it is done, or something has failed for good."""
        return bool(self.failed) or all(done >= of for *_, done, of in self.steps(count))


async def watch(night: Night, *, bootstrap: str, prefix: str, stopped: threading.Event) -> None:
    """Take in all events, from the first one on, until `stopped` is set.

    A broker that is away is waited for; what is read twice counts once.
    """
    kinds = {
        prefix + kind.topic.name: kind.name for kind in (replication.EVENT_TYPE, ingest.EVENT_TYPE)
    }
    while not stopped.is_set():
        consumer = AIOKafkaConsumer(
            *kinds, bootstrap_servers=bootstrap, auto_offset_reset="earliest"
        )
        try:
            await consumer.start()
            while not stopped.is_set():
                batches = await consumer.getmany(timeout_ms=_POLL_MS)
                for message in [message for batch in batches.values() for message in batch]:
                    kind = kinds[message.topic]
                    night.take(kind, codec.decode(kind, message.value))
        except (KafkaError, OSError):
            stopped.wait(_AGAIN_S)
        finally:
            await consumer.stop()
