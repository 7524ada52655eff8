"""What path the storage gets: taken apart once, decoded once, written anew."""

from __future__ import annotations

import urllib.parse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.problems import Problem
from api.routes.pass_through import target

NAMESPACE = b"/api/v1/namespace"


@pytest.mark.parametrize(
    ("raw", "sent"),
    [
        (b"/api/v1/user", b"/api/v1/user"),
        (NAMESPACE + b"/data", NAMESPACE + b"/data"),
        (NAMESPACE + b"/%2Fdata%2Fsub", NAMESPACE + b"/data/sub"),
        (NAMESPACE + b"//data", NAMESPACE + b"/data"),
        (NAMESPACE + b"/data/../../../user", NAMESPACE + b"/user"),
        (NAMESPACE + b"/%2e%2e/%2E%2E/bulk-requests", NAMESPACE + b"/bulk-requests"),
        (NAMESPACE + b"/%252e%252e/x", NAMESPACE + b"/%252e%252e/x"),
        (NAMESPACE + b"/a%20b%3Fc%23d%25", NAMESPACE + b"/a%20b%3Fc%23d%25"),
        (NAMESPACE + b"/%C3%85%0A", NAMESPACE + b"/%C3%85%0A"),
        (NAMESPACE + b"/%FF", NAMESPACE + b"/%FF"),
        (NAMESPACE + b"/http://evil/", NAMESPACE + b"/http%3A/evil"),
        (NAMESPACE + b"/", NAMESPACE + b"/"),
        (b"/api/v1/tape/../user", b"/api/v1/tape/user"),
    ],
)
def test_a_path_stays_below_its_prefix(raw: bytes, sent: bytes) -> None:
    """`..`, doubled and encoded slashes are resolved; what was encoded twice stays a name."""
    assert target(raw, b"") == sent


@pytest.mark.parametrize(
    "raw", [b"/api/v1/users", b"/api/v1/events", b"/", b"/api/v1/namespacex", b"http://evil/"]
)
def test_nothing_else_is_passed_on(raw: bytes) -> None:
    """A prefix is a whole component."""
    with pytest.raises(Problem) as refused:
        target(raw, b"")
    assert refused.value.status == 404


def test_a_null_byte_is_refused() -> None:
    """No storage has names with one."""
    with pytest.raises(Problem) as refused:
        target(NAMESPACE + b"/a%00b", b"")
    assert refused.value.status == 400


def test_tokens_do_not_travel_in_the_query() -> None:
    """However their name is written; all else stays as it is."""
    query = b"children=True&authz=MDA&%61uthz=x&AUTHZ=y&locality&a=%2e%2e"
    assert target(NAMESPACE, query) == NAMESPACE + b"?children=True&AUTHZ=y&locality&a=%2e%2e"


@given(st.binary(max_size=40), st.binary(max_size=20))
def test_whatever_is_sent_never_leaves_its_prefix(path: bytes, query: bytes) -> None:
    """No dot segment, no raw control character or second `?` in the path of what is sent on."""
    raw = NAMESPACE + b"/" + path
    if b"\0" in urllib.parse.unquote_to_bytes(raw):
        return
    sent = target(raw, query).partition(b"?")[0]
    assert sent.startswith(NAMESPACE + b"/")
    assert not {b"..", b".", b""} & set(sent.removeprefix(NAMESPACE + b"/").split(b"/")[:-1])
    assert sent.rpartition(b"/")[2] not in {b"..", b"."}
    assert all(0x20 < byte < 0x7F for byte in sent)
