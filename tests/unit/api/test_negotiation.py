"""Which of two media types a client would rather have."""

from __future__ import annotations

import pytest

from api import negotiation

OFFERED = ("application/json", "text/event-stream")


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ([], "application/json"),
        (["*/*"], "application/json"),
        (["application/json"], "application/json"),
        (["text/event-stream"], "text/event-stream"),
        (["Text/Event-Stream"], "text/event-stream"),
        (["text/event-stream, application/json;q=0.5"], "text/event-stream"),
        (["text/event-stream;q=0.2", "application/json;q=0.5"], "application/json"),
        (["text/*"], "text/event-stream"),
        (["text/html,application/xhtml+xml,*/*;q=0.8"], "application/json"),
        (["text/event-stream; charset=utf-8"], "text/event-stream"),
        (["image/png"], None),
        (["application/json;q=0, text/event-stream;q=rubbish"], None),
        ([","], "application/json"),
    ],
)
def test_choose(accept: list[str], chosen: str | None) -> None:
    """The highest quality wins, the first on offer among equals."""
    assert negotiation.choose(accept, OFFERED) == chosen
