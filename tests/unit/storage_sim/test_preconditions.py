"""Conditional requests, ranges and destinations, as RFC 9110 and RFC 4918 have them."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote, urlparse

import pytest

from storage_sim.doors import destinations, preconditions
from storage_sim.doors.preconditions import There

HERE = There("abc", 1_700_000_000)
THAT_SECOND = "Tue, 14 Nov 2023 22:13:20 GMT"
BEFORE = "Tue, 14 Nov 2023 22:13:19 GMT"
EPOCH = "Thu, 01 Jan 1970 00:00:00 GMT"


def environ(method: str, **headers: str) -> dict[str, Any]:
    """Return a request's WSGI environment."""
    return {
        "REQUEST_METHOD": method,
        **{f"HTTP_{name.upper()}": value for name, value in headers.items()},
    }


@pytest.mark.parametrize(
    ("method", "headers", "there", "status"),
    [
        ("GET", {"if_match": '"abc"'}, HERE, 0),
        ("GET", {"if_match": '"x", "abc"'}, HERE, 0),
        ("GET", {"if_match": 'W/"abc"'}, HERE, 412),
        ("PUT", {"if_match": '"x"'}, HERE, 412),
        ("PUT", {"if_match": '"x"'}, None, 412),
        ("PUT", {"if_match": "*"}, None, 412),
        ("PUT", {"if_match": "*"}, HERE, 0),
        ("GET", {"if_none_match": '"abc"'}, HERE, 304),
        ("HEAD", {"if_none_match": 'W/"abc"'}, HERE, 304),
        ("PUT", {"if_none_match": '"abc"'}, HERE, 412),
        ("PUT", {"if_none_match": "*"}, HERE, 412),
        ("PUT", {"if_none_match": "*"}, None, 0),
        ("GET", {"if_none_match": '"x"', "if_modified_since": THAT_SECOND}, HERE, 0),
        ("GET", {"if_modified_since": THAT_SECOND}, HERE, 304),
        ("GET", {"if_modified_since": BEFORE}, HERE, 0),
        ("PUT", {"if_modified_since": THAT_SECOND}, HERE, 0),
        ("GET", {"if_unmodified_since": THAT_SECOND}, HERE, 0),
        ("GET", {"if_unmodified_since": BEFORE}, HERE, 412),
        ("DELETE", {"if_unmodified_since": EPOCH}, HERE, 412),
        ("DELETE", {"if_unmodified_since": EPOCH}, None, 0),
        ("GET", {"if_modified_since": "yesterday"}, HERE, 0),
        ("GET", {"if_match": "*"}, None, 0),
    ],
)
def test_conditions(
    method: str, headers: dict[str, str], there: There | None, status: int
) -> None:
    assert preconditions.refusal(environ(method, **headers), there) == status


@pytest.mark.parametrize(
    ("header", "followed"),
    [
        ("bytes=0-0", True),
        ("bytes=5-", True),
        ("bytes=-3", True),
        ("Bytes = 0-9", True),
        ("bytes=-0", False),
        ("bytes=5-2", False),
        ("bytes=0-1,3-4", False),
        ("bytes=a-b", False),
        ("items=0-1", False),
        ("bytes=", False),
    ],
)
def test_a_range_is_followed_only_if_it_is_one(header: str, followed: bool) -> None:
    request = environ("GET", range=header)

    preconditions.settle(request)

    assert ("HTTP_RANGE" in request) == followed


def test_a_head_request_has_no_range() -> None:
    request = environ("HEAD", range="bytes=0-0")

    preconditions.settle(request)

    assert "HTTP_RANGE" not in request


@pytest.mark.parametrize(
    ("destination", "path"),
    [
        ("http://h/data/a%3Fb", "/data/a?b"),
        ("http://h/data/a%3bb", "/data/a;b"),
        ("http://h/data/a;b", "/data/a;b"),
        ("http://h/data/a%253Fb", "/data/a%3Fb"),
        ("http://h/data/a?authz=x", "/data/a"),
        ("/data/%C3%A4%20b", "/data/ä b"),
    ],
)
def test_a_destination_survives_how_wsgidav_reads_it(destination: str, path: str) -> None:
    read = urlparse(unquote(destinations.hide(destination)), allow_fragments=False).path

    assert destinations.show(read) == path
