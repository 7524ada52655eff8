"""What a ledger is told and what it gives back."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Arrived(NamedTuple):
    """A trigger as it stood on Kafka."""

    id: str
    headers: Sequence[tuple[str, bytes]]
    data: bytes
    topic: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Row:
    """A job that is not finished.

    Attributes:
        arrived: its trigger.
        attempt: which try this is, from 1.
        failures: how often the function itself has failed.
        waiting_since_s: since when a storage is waited for; None: it is not.
    """

    arrived: Arrived
    attempt: int
    failures: int
    waiting_since_s: float | None


class Message(NamedTuple):
    """A message to be sent: topic, key, and what makes its value of its number."""

    topic: str
    key: bytes | None
    make: Callable[[int], bytes]


class Failed(NamedTuple):
    """A job that was given up.

    Attributes:
        id: the trigger's.
        headers: the trigger's.
        attempt: how often it was tried.
        ended_s: when it was given up, epoch seconds.
        reason: why.
    """

    id: str
    headers: Sequence[tuple[str, bytes]]
    attempt: int
    ended_s: float
    reason: str


def text_of(headers: Sequence[tuple[str, bytes]]) -> str:
    """Return headers as they are kept."""
    return json.dumps([[name, value.decode()] for name, value in headers])


def headers_of(text: str) -> list[tuple[str, bytes]]:
    """Return headers as they stood on Kafka."""
    return [(name, value.encode()) for name, value in json.loads(text)]


def row_of(columns: Sequence[Any]) -> Row:
    """Return a job that is not finished."""
    job_id, headers, data, topic, partition, offset, attempt, failures, waiting_since_s = columns
    arrived = Arrived(job_id, headers_of(headers), data, topic, partition, offset)
    return Row(arrived, attempt, failures, waiting_since_s)
