"""What a runner tells: events to users, dead letters to operators, claims to runners. Pure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from pipeline.event_types import ingest
from pipeline.ingest.ledger_rows import Message
from pipeline.ingest.transfers import path_of
from schemas import codec, topics

if TYPE_CHECKING:
    from pipeline.ingest.ledger_rows import Arrived
    from pipeline.ingest.triggers import Trigger

AGENT: Final = "ingest-runner"
CLAIMS: Final = topics.Topic("ingest-claims", "", 8 * topics.DAYS, key="the trigger's id")
"""Kept for longer than triggers are."""


def claim(trigger_id: str, runner: str) -> Message:
    """Return the message by which a runner claims a trigger.

    Args:
        trigger_id: the trigger's.
        runner: the runner's shard, which no other runner and no other ledger has.
    """
    value = runner.encode()
    return Message(CLAIMS.name, trigger_id.encode(), lambda _: value)


def job_event(
    shard: str, trigger: Trigger, *, state: str, attempt: int, time_us: int, reason: str = ""
) -> Message:
    """Return the event that a job is in a new state.

    Args:
        shard: the runner's own.
        trigger: the job's.
        state: STARTED, DONE or FAILED.
        attempt: which try, from 1.
        time_us: epoch microseconds.
        reason: for FAILED, as users may know it.
    """

    def make(number: int) -> bytes:
        return codec.encode(
            "ingest",
            ingest.message(
                shard=shard,
                number=number,
                time_us=time_us,
                state=state,
                inode=bytes.fromhex(trigger.inode),
                ancestors=bytes.fromhex(trigger.ancestors),
                permissions=trigger.permissions,
                id=trigger.id,
                rule=trigger.rule,
                function=trigger.function,
                storage=trigger.storage,
                path=trigger.path,
                attempt=attempt,
                reason=reason,
            ),
        )

    return Message(ingest.EVENT_TYPE.topic.name, shard.encode(), make)


def dead_letter(arrived: Arrived, reason: str, time_us: int) -> Message:
    """Return the dead letter of a trigger: its URLs without their macaroons.

    Args:
        arrived: the trigger as it stood on Kafka.
        reason: why it is given up.
        time_us: epoch microseconds.
    """
    letter = {
        "topic": arrived.topic,
        "partition": arrived.partition,
        "offset": arrived.offset,
        "key": None,
        "value": _without_macaroons(arrived.data),
        "reason": f"{arrived.id}: {reason}",
        "agent": AGENT,
        "time_us": time_us,
    }
    value = codec.encode(topics.DEAD_LETTER.schema, letter)
    return Message(topics.DEAD_LETTER.name, None, lambda _: value)


def _without_macaroons(data: bytes) -> bytes | None:
    try:
        urls = json.loads(data)
        return json.dumps({name: path_of(url) for name, url in urls.items()}).encode()
    except (ValueError, AttributeError, TypeError):
        # What is no object of URLs may hold anything.
        return None
