"""The edge: every error an answer, every refusal an audit line, nothing secret in a log."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import pytest
from starlette.requests import ClientDisconnect

from api import audit, edge, problems
from api.limits import AtOnce, Limits, RateLimit, WrongPasswords
from api.metrics import Metrics
from api.origin import Origin
from pipeline.authz.principal import Principal
from schemas.errors import Unavailable

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Scope, Send


def _limits(per_address: float = 0) -> Limits:
    def clock() -> float:
        return 0.0

    return Limits(
        channels_per_user=1,
        subscriptions_per_channel=1,
        body_bytes=1,
        selector_bytes=1,
        passed_body_bytes=1,
        body_timeout_s=1,
        requests_per_address=RateLimit(
            "requests-per-address", per_address, per_address, clock=clock
        ),
        requests_per_user=RateLimit("requests-per-user", 0, 0, clock=clock),
        connections_per_address=AtOnce("connections-per-address", 1),
        connections_per_user=AtOnce("connections-per-user", 1),
        passed_per_user=AtOnce("passed-per-user", 1),
        wrong_passwords=WrongPasswords(1, 1, 1, clock=clock),
    )


async def _serve(app: Any, *, per_address: float = 0, times: int = 1) -> list[Message]:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        sent.append(message)

    wrapped = edge.Edge(app, Origin("", ()), _limits(per_address), Metrics())
    for _ in range(times):
        scope = {
            "type": "http",
            "method": "GET",
            "path": "/a\nb",
            "raw_path": b"/a%0Ab",
            "query_string": b"authz=MDAsecret",
            "http_version": "1.1",
            "headers": [(b"host", b"x")],
            "client": ("192.0.2.1", 1),
            "scheme": "http",
        }
        await wrapped(scope, receive, send)
    return sent


def _raises(error: Exception) -> Any:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope[edge.VISIT].who = Principal("alice", 1000, (1000,))
        raise error

    return app


async def test_a_bug_is_a_500_without_its_inside(caplog: pytest.LogCaptureFixture) -> None:
    """The log has the traceback, the client has not."""
    sent = await _serve(_raises(KeyError("secret thing")))
    assert sent[0]["status"] == 500
    assert b"secret" not in sent[1]["body"]
    assert "KeyError" in caplog.text


async def test_a_refusal_is_audited_with_who_what_and_where(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One line of JSON with the true reason, which the client does not get."""
    caplog.set_level(logging.INFO)
    sent = await _serve(_raises(problems.forbidden("the channel belongs to another user")))
    (line,) = [one for one in caplog.records if one.name == "storage_events.audit"]
    assert json.loads(line.getMessage()) == {
        "action": "GET /a%0Ab",
        "decision": "refused",
        "address": "192.0.2.1",
        "user": "alice",
        "uid": 1000,
        "status": 403,
        "reason": "the channel belongs to another user",
    }
    assert b"another user" not in sent[1]["body"]


async def test_logs_have_neither_tokens_nor_line_ends(caplog: pytest.LogCaptureFixture) -> None:
    """The query is left out; the path stands as it came."""
    caplog.set_level(logging.INFO)
    await _serve(_raises(Unavailable("the storage is away")))
    assert "MDAsecret" not in caplog.text
    messages = [record.getMessage() for record in caplog.records]
    assert any("192.0.2.1 alice GET /a%0Ab 503" in message for message in messages)
    assert not any("\n" in message for message in messages)


async def test_unavailable_is_a_503_with_retry_after() -> None:
    """And says nothing about what is inside."""
    sent = await _serve(_raises(Unavailable("redis://inside", retry_after_s=3)))
    assert sent[0]["status"] == 503
    assert (b"retry-after", b"3") in sent[0]["headers"]
    assert b"inside" not in sent[1]["body"]


async def test_a_client_that_left_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is sent, nothing is reported."""
    assert await _serve(_raises(ClientDisconnect())) == []
    assert "ERROR" not in caplog.text


async def test_an_address_that_asks_too_often_is_told_so() -> None:
    """429 with the limit's name, before anything else is done."""
    sent = await _serve(_raises(problems.not_found("x")), per_address=2, times=3)
    statuses = [message["status"] for message in sent if "status" in message]
    assert statuses == [404, 404, 429]
    assert json.loads(sent[-1]["body"])["limit"] == "requests-per-address"


async def test_an_error_after_the_answer_began_ends_the_connection() -> None:
    """It cannot be told any more; the server closes."""

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ValueError("late")

    with pytest.raises(ValueError, match="late"):
        await _serve(app)


async def test_marks_do_not_replace_what_an_answer_says() -> None:
    """Whatever the spelling of its names."""

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        headers = [(b"Cache-Control", b"no-cache")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})

    sent = await _serve(app)
    values = [value for name, value in sent[0]["headers"] if name.lower() == b"cache-control"]
    assert values == [b"no-cache"]


def test_audit_lines_are_cut_and_cannot_be_forged(caplog: pytest.LogCaptureFixture) -> None:
    """A path with a line end stays inside its JSON string."""
    caplog.set_level(logging.INFO)
    audit.line("x", "refused", who=None, address="a", path="/a\n{}" + "b" * 5000, none=None)
    (record,) = caplog.records
    assert "\n" not in record.getMessage()
    assert len(record.getMessage()) < 2000
    assert "none" not in json.loads(record.getMessage())
