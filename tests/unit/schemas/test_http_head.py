"""Heads that are refused before anybody looks at what they ask for."""

from __future__ import annotations

import pytest

from schemas import http_head

HOST = (b"host", b"x")


@pytest.mark.parametrize(
    ("version", "headers", "is_wrong"),
    [
        ("1.1", [HOST], False),
        ("1.1", [HOST, (b"accept", b"host")], False),
        ("1.1", [HOST, HOST], True),
        ("1.1", [HOST, (b"host", b"")], True),
        ("1.1", [], True),
        ("1.0", [], False),
        ("1.0", [HOST, HOST], True),
        ("0.9", [HOST], True),
        ("2.0", [HOST], True),
    ],
)
def test_one_host_and_a_version_that_is_known(
    version: str, headers: list[tuple[bytes, bytes]], *, is_wrong: bool
) -> None:
    assert bool(http_head.fault({"http_version": version, "headers": headers})) == is_wrong
