"""Credentials: one at most, read strictly, never shown."""

from __future__ import annotations

import base64

import pytest
from starlette.datastructures import Headers, QueryParams

from api import credentials
from api.problems import Problem
from pipeline.authz import macaroons


def _basic(text: bytes) -> str:
    return "Basic " + base64.b64encode(text).decode()


def _read(
    header: str | None = None, query: str = "", second: str | None = None
) -> credentials.Credential | None:
    raw = [(b"authorization", value.encode()) for value in (header, second) if value is not None]
    return credentials.read(Headers(raw=raw), QueryParams(query))


def test_basic_keeps_the_role_with_the_user() -> None:
    """The storage strips it (R21)."""
    found = _read(_basic(b"paul#admin:pass:word"))
    assert found is not None
    assert found.user == "paul#admin"


def test_a_token_comes_as_header_or_in_the_query() -> None:
    """Both are forwarded as a header."""
    for found in (_read("Bearer abc"), _read("bearer  abc"), _read(query="authz=abc")):
        assert found is not None
        assert found.header == "Bearer abc"
    found = _read(query="authz=Bearer%20abc")
    assert found is not None
    assert found.token == "abc"


@pytest.mark.parametrize(
    ("header", "query", "second"),
    [
        ("Bearer a", "authz=b", None),
        (_basic(b"a:b"), "authz=b", None),
        ("Bearer a", "", "Bearer a"),
        (None, "authz=a&authz=a", None),
    ],
)
def test_two_at_once_are_refused(header: str | None, query: str, second: str | None) -> None:
    """Which of them counts would be a guess."""
    with pytest.raises(Problem) as refused:
        _read(header, query, second)
    assert refused.value.status == 400


@pytest.mark.parametrize(
    "header",
    [
        "Basic !!!", _basic(b"nocolon"), _basic(b":nouser"), "Digest x", "Bearer", "Bearer a b",
        "Bearer \xe4", "Basic " + "A" * 50_000, "",
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_a_401(header: str) -> None:
    """And not a traceback."""
    with pytest.raises(Problem) as refused:
        _read(header)
    assert refused.value.status == 401


def test_none_is_none() -> None:
    """Anonymous."""
    assert _read() is None


def test_nothing_secret_is_shown() -> None:
    """Neither password nor token is in a repr."""
    for found in (_read(_basic(b"a:secret")), _read("Bearer secret")):
        assert "secret" not in repr(found)
        assert base64.b64encode(b"a:secret").decode() not in repr(found)


def test_a_macaroons_restrictions_are_read_from_its_caveats() -> None:
    """The storage has accepted it; what it says is in it."""
    token = macaroons.mint(
        b"k" * 32, "id", "/", ["id:1000;1000;paul", "root:/data", "activity:LIST"]
    )
    found = _read(f"Bearer {token}")
    assert found is not None
    restrictions = found.restrictions("/", {})
    assert restrictions.root == "/data"
    assert restrictions.activities is not None
    assert "LIST" in restrictions.activities


def test_a_token_that_cannot_be_read_opens_nothing() -> None:
    """Even if a storage accepted it: its restrictions are unknown."""
    found = _read("Bearer opaque")
    assert found is not None
    with pytest.raises(Problem) as refused:
        found.restrictions("/", {})
    assert refused.value.status == 401


def test_the_root_of_a_basic_user_is_the_storages_word() -> None:
    """A user with a root directory is confined to it."""
    found = _read(_basic(b"a:b"))
    assert found is not None
    assert found.restrictions("/tenant", {}).root == "/tenant"
    assert found.restrictions("/", {}).fingerprint() == ""
