"""Error answers: both shapes in one object, the challenge, the limit, no inside knowledge."""

from __future__ import annotations

import json
from typing import Any

import pytest
from starlette.exceptions import HTTPException

from api import problems
from pipeline.event_types.base import BadSelector
from schemas.errors import BadRecord, Refused, Unavailable


def _body(problem: problems.Problem, headers: dict[str, str] | None = None) -> Any:
    return json.loads(bytes(problems.response(problem, headers or {}).body))


def test_both_error_shapes_stand_in_one_object() -> None:
    """dCache since 8.2 and before it, at once (R23)."""
    body = _body(problems.not_found("No such channel"))
    assert body == {
        "status": "404",
        "title": "Not Found",
        "detail": "No such channel",
        "errors": [{"message": "No such channel", "status": "404"}],
    }


@pytest.mark.parametrize(
    ("problem", "phrase"),
    [
        (problems.unauthenticated("wrong password"), "Unauthorized"),
        (problems.forbidden("another user's"), "Forbidden"),
    ],
)
def test_the_detail_is_only_the_phrase_where_dcache_says_no_more(
    problem: problems.Problem, phrase: str
) -> None:
    """The reason is for the audit and does not reach the client."""
    text = bytes(problems.response(problem, {}).body).decode()
    assert json.loads(text)["detail"] == phrase
    assert problem.reason not in text


def test_a_401_challenges_unless_asked_not_to() -> None:
    """dCache-view asks not to, so that the browser shows no dialog."""
    answer = problems.response(problems.unauthenticated(""), {})
    assert answer.headers["www-authenticate"].startswith('Basic realm="')
    answer = problems.response(
        problems.unauthenticated(""), {"suppress-www-authenticate": "Suppress"}
    )
    assert "www-authenticate" not in answer.headers
    assert answer.headers["suppress-www-authenticate"] == "suppressed"


def test_a_429_says_which_limit() -> None:
    """Name and value, and when to come back."""
    problem = problems.limited("channels-per-user", 128, retry_after_s=2.4)
    body = _body(problem)
    assert (body["detail"], body["limit"], body["maximum"]) == (
        "Too Many Requests",
        "channels-per-user",
        128,
    )
    assert "channels-per-user" in body["errors"][0]["message"]
    assert problems.response(problem, {}).headers["retry-after"] == "2"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Unavailable("redis at 10.0.0.1 is away", retry_after_s=7), 503),
        (BadSelector("Bad selector: no path"), 400),
        (BadRecord("not JSON"), 400),
        (Refused("may not"), 403),
        (HTTPException(405, headers={"Allow": "GET"}), 405),
        (KeyError("secret"), 500),
    ],
)
def test_the_family_of_an_error_decides_its_status(error: Exception, status: int) -> None:
    """And what is inside stays inside."""
    problem = problems.as_problem(error)
    assert problem.status == status
    text = bytes(problems.response(problem, {}).body).decode()
    assert "10.0.0.1" not in text
    assert "secret" not in text


def test_unavailable_says_when_to_try_again() -> None:
    """503 with Retry-After."""
    problem = problems.as_problem(Unavailable("x", retry_after_s=7))
    assert problem.headers["Retry-After"] == "7"
