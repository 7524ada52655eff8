"""Running again what was given up: the same trigger, with new URLs, by the rules as they are."""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING

import httpx

from pipeline.ingest import triggers
from pipeline.ingest.urls import TriggerUrls
from schemas.errors import BadRecord, Refused, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pipeline.ingest.ledger import Ledger
    from pipeline.ingest.ledger_rows import Failed
    from pipeline.ingest.rules import RuleSet

_ANSWER_S = 10.0


async def again(
    ledger: Ledger,
    rules: RuleSet,
    ids: Sequence[str],
    clock: Callable[[], float] = time.time,
) -> dict[str, str]:
    """Queue jobs that were given up.

    Their macaroons have ended or were forgotten, so they get new ones. What a rule says now
    counts: another function, other URLs.

    Args:
        ledger: of the runner, which may be at work.
        rules: the rules as they are now.
        ids: which triggers; `all` for all that were given up.
        clock: epoch seconds.

    Returns:
        For each trigger why it is not queued; empty: it is.
    """
    failed = {job.id: job for job in ledger.failed()}
    wanted = list(failed) if list(ids) == ["all"] else ids
    async with httpx.AsyncClient(timeout=_ANSWER_S) as client:
        urls = TriggerUrls(rules, client, clock)
        return {
            job_id: await _queue(ledger, rules, urls, failed.get(job_id), clock())
            for job_id in wanted
        }


async def _queue(
    ledger: Ledger, rules: RuleSet, urls: TriggerUrls, job: Failed | None, now_s: float
) -> str:
    if job is None:
        return "no job of that id was given up"
    trigger = triggers.about(job.headers)
    rule = next((rule for rule in rules.rules if rule.name == trigger.rule), None)
    if rule is None or not rule.function:
        return f"there is no rule {trigger.rule!r} with a function any more"
    try:
        named = await urls.make(rule, trigger.storage, trigger.path)
    except (BadRecord, Refused, Unavailable) as error:
        return str(error)
    headers = triggers.headers(dataclasses.replace(trigger, function=rule.function))
    is_queued = ledger.retry(job.id, headers, triggers.value(named), now_s)
    return "" if is_queued else "it is queued already"
