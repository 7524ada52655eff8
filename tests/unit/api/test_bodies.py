"""JSON bodies: what is not JSON is a 400, whatever it looks like."""

from __future__ import annotations

import pytest
from starlette.requests import Request

from api import bodies
from api.problems import Problem


def request(*headers: tuple[bytes, bytes]) -> Request:
    """Return a request with headers."""
    return Request({"type": "http", "method": "POST", "path": "/", "headers": list(headers)})


def test_json_is_read() -> None:
    body = '{"client-id": "ä\\ud83d\\ude00"}'.encode()
    assert bodies.parse(request(), body) == {"client-id": "ä😀"}
    assert bodies.parse(request(), b"") is None


@pytest.mark.parametrize(
    "body",
    [
        b'{"client-id": "\\ud800"}',
        b'{"\\udfff": 1}',
        b'{"client-id": "\xed\xa0\x80"}',
        b'{"delay": NaN}',
        b"[" * 100_000,
        b"\xff",
        b"{",
    ],
)
def test_what_cannot_be_written_down_again_is_refused(body: bytes) -> None:
    with pytest.raises(Problem) as caught:
        bodies.parse(request(), body)
    assert caught.value.status == 400
    assert caught.value.detail.startswith("Bad JSON: ")
