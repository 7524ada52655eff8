"""Limits: arithmetic on a clock that the test moves."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.limits import AtOnce, RateLimit, Recent, WrongPasswords
from api.problems import Problem


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def test_a_burst_passes_and_the_next_request_waits() -> None:
    """The bucket's size may be spent at once; then a 429 names the limit and when to come back."""
    clock = Clock()
    limit = RateLimit("requests-per-user", 10, 3, clock=clock)
    for _ in range(3):
        limit.spend("1000")
    with pytest.raises(Problem) as refused:
        limit.spend("1000")
    assert refused.value.status == 429
    assert refused.value.limit == "requests-per-user"
    assert refused.value.headers["Retry-After"] == "1"
    limit.spend("1001")
    clock.now_s += 0.1
    limit.spend("1000")


@given(st.lists(st.floats(0, 2), max_size=60))
def test_no_more_than_rate_times_time_plus_burst(pauses_s: list[float]) -> None:
    """Whatever the pauses, what passes is bounded by the rate and the burst."""
    clock = Clock()
    limit = RateLimit("x", 5, 10, clock=clock)
    started_s, passed = clock.now_s, 0
    for pause_s in pauses_s:
        clock.now_s += pause_s
        try:
            limit.spend("k")
            passed += 1
        except Problem:
            pass
    assert passed <= 5 * (clock.now_s - started_s) + 10 + 1e-6


def test_a_rate_of_zero_is_no_limit() -> None:
    """0 switches a rate off."""
    limit = RateLimit("x", 0, 0, clock=Clock())
    for _ in range(1000):
        limit.spend("k")


def test_what_is_open_at_once_is_counted_and_given_back() -> None:
    """A place that was given back can be taken again; nothing is left of keys that hold none."""
    limit = AtOnce("connections-per-user", 2)
    limit.take("1")
    limit.take("1")
    limit.take("2")
    with pytest.raises(Problem) as refused:
        limit.take("1")
    assert (refused.value.limit, refused.value.maximum) == ("connections-per-user", 2)
    limit.give_back("1")
    limit.take("1")


def test_recent_is_bounded_and_forgets_the_least_used() -> None:
    """A stranger with many keys cannot make it grow."""
    recent: Recent[int] = Recent(2)
    recent.put("a", 1)
    recent.put("b", 2)
    assert recent.get("a") == 1
    recent.put("c", 3)
    assert len(recent) == 2
    assert recent.get("b") is None
    assert recent.get("a") == 1


def test_wrong_passwords_wait_longer_each_time() -> None:
    """After the free ones each failure doubles the wait, for this user at this address only."""
    clock = Clock()
    guard = WrongPasswords(2, 1.0, 60.0, clock=clock)
    for _ in range(2):
        guard.check("192.0.2.1", "alice")
        guard.failed("192.0.2.1", "alice")
    guard.check("192.0.2.1", "alice")
    guard.failed("192.0.2.1", "alice")
    with pytest.raises(Problem) as refused:
        guard.check("192.0.2.1", "alice")
    assert refused.value.limit == "login-failures"
    guard.check("192.0.2.2", "alice")
    guard.check("192.0.2.1", "bob")
    clock.now_s += 1.1
    guard.check("192.0.2.1", "alice")
    guard.failed("192.0.2.1", "alice")
    clock.now_s += 1.1
    with pytest.raises(Problem):
        guard.check("192.0.2.1", "alice")
    clock.now_s += 1.0
    guard.check("192.0.2.1", "alice")
    guard.succeeded("192.0.2.1", "alice")
    guard.failed("192.0.2.1", "alice")
    guard.check("192.0.2.1", "alice")


def test_one_address_that_tries_many_users_is_slowed_down_as_a_whole() -> None:
    """Changing the user name does not help who guesses."""
    guard = WrongPasswords(2, 1.0, 60.0, clock=Clock())
    for number in range(21):
        guard.check("192.0.2.1", f"user{number}")
        guard.failed("192.0.2.1", f"user{number}")
    with pytest.raises(Problem):
        guard.check("192.0.2.1", "another")
    guard.check("192.0.2.9", "another")


def test_one_network_of_ipv6_is_one_guesser() -> None:
    """Whoever has one address of it has them all."""
    guard = WrongPasswords(1, 10, 60, clock=Clock())
    for number in range(2):
        guard.failed(f"2001:db8::{number}", "alice")
    with pytest.raises(Problem):
        guard.check("2001:db8::9", "alice")
    guard.check("2001:db8:0:1::9", "alice")


def test_a_name_with_a_role_is_the_same_name() -> None:
    """Else each role that is made up would have its own guesses."""
    guard = WrongPasswords(1, 10, 60, clock=Clock())
    for number in range(2):
        guard.failed("192.0.2.1", f"alice#role{number}")
    for name in ("alice", "alice#admin"):
        with pytest.raises(Problem):
            guard.check("192.0.2.1", name)
    with guard.trying("192.0.2.1", "alice#a", "x"), pytest.raises(Problem):
        guard.trying("192.0.2.1", "alice#b", "y").__enter__()
