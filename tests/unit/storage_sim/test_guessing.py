"""Guessing at once, and for many users."""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from storage_sim import authentication, users
from storage_sim.authentication import Authenticator, BadCredentials, TooManyAttempts
from storage_sim.users import Users
from tests.unit.storage_sim.test_authentication import HERE, basic
from tests.unit.storage_sim.test_users import FILE, written

if TYPE_CHECKING:
    from pathlib import Path

    from schemas.errors import Refused


@pytest.fixture
def authenticator(tmp_path: Path) -> Authenticator:
    """Give one whose clock stands still."""
    return Authenticator(Users(written(tmp_path, FILE)), clock_s=lambda: 1_000_000.0)


def test_guesses_made_at_once_are_slowed_down_as_those_one_by_one(
    authenticator: Authenticator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None slips through because the others' failures were not known when it came."""
    tried = []

    def slowly(_hash: str, password: str) -> bool:
        tried.append(password)
        time.sleep(0.02)
        return False

    monkeypatch.setattr(users, "password_fits", slowly)

    def guess(number: int) -> type[Refused]:
        with pytest.raises((BadCredentials, TooManyAttempts)) as refused:
            authenticator.authenticate(basic("alice", f"guess{number}"), [], HERE)
        return refused.type

    with ThreadPoolExecutor(40) as pool:
        answers = Counter(pool.map(guess, range(40)))
    most = authentication._FREE_FAILURES + authentication._AT_ONCE
    assert len(tried) == answers[BadCredentials] <= most
    assert answers[TooManyAttempts] == 40 - len(tried)


def test_who_tries_very_many_users_is_slowed_down_as_a_whole(
    authenticator: Authenticator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else hashing for invented users would keep all others waiting."""
    monkeypatch.setattr(users, "password_fits", lambda _hash, _password: False)
    for number in range(authentication._FREE_AT_ADDRESS):
        with pytest.raises(BadCredentials):
            authenticator.authenticate(basic(f"user{number}", "x"), [], HERE)
    with pytest.raises(TooManyAttempts):
        authenticator.authenticate(basic("another", "x"), [], HERE)
    with pytest.raises(BadCredentials):
        authenticator.authenticate(basic("another", "x"), [], "192.0.2.2")


def test_one_network_of_ipv6_is_one_guesser(
    authenticator: Authenticator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has one address of it has them all."""
    monkeypatch.setattr(users, "password_fits", lambda _hash, _password: False)
    for number in range(authentication._FREE_FAILURES):
        with pytest.raises(BadCredentials):
            authenticator.authenticate(basic("alice", "x"), [], f"2001:db8::{number}")
    with pytest.raises(TooManyAttempts):
        authenticator.authenticate(basic("alice", "x"), [], "2001:db8::ffff")
    with pytest.raises(BadCredentials):
        authenticator.authenticate(basic("alice", "x"), [], "2001:db8:1::1")
