"""The checks broken on purpose, one at a time: the comparison must notice each."""

from __future__ import annotations

import gc
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, find, settings

from api.delivery_stream import Stream
from pipeline.authz import checks, scope
from storage_sim import reading, tree, walk
from storage_sim.doors.locks import Locks
from storage_sim.doors.rest import Rest
from tests.conformance.noninterference import histories, scenes
from tests.conformance.noninterference.test_noninterference import difference

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Break = Callable[[pytest.MonkeyPatch], None]

SEARCH = settings(
    max_examples=400,
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def _yes(*_: Any, **__: Any) -> bool:
    return True


def _everybody(*_: Any) -> str:
    return scope.OPEN


def _as_it_is(needed: str, *_: Any) -> str:
    return needed


def _check_without_acl(text: str, needs: str) -> checks.Check:
    return REAL_CHECK(text, needs)._replace(rules=())


REAL_CHECK = checks.check
BREAKS: dict[str, Break] = {
    "everybody may see everything": lambda patch: patch.setattr(scope, "may_see", _yes),
    "events with a name are open": lambda patch: patch.setattr(scope, "named_scope", _everybody),
    "recursion looks through": lambda patch: patch.setattr(scope, "recursive_scope", _as_it_is),
    "listings are open": lambda patch: patch.setattr(reading, "may_list", _yes),
    "walking needs no right": lambda patch: patch.setattr(
        walk, "scope", SimpleNamespace(allows=_yes)
    ),
    "users are told positions": lambda patch: patch.setattr(Rest, "_is_service", _yes),
    "ACLs say nothing": lambda patch: patch.setattr(checks, "check", _check_without_acl),
    "removing tells what is in it": lambda patch: patch.setattr(tree, "may_list", _yes),
    "locks are told": lambda patch: patch.setattr(Locks, "_is_told", _yes),
    "the past is open": lambda patch: patch.setattr(Stream, "may_see", _yes),
}

_HIDES = [
    histories.Hidden("write", f"{folder}/h0", "")
    for folder in ("/hid", "/pub/hid", "/pub/x", "/pub/x/s")
]
TELLING = histories.Pair(
    steps=[
        histories.Visible("write", "/pub/own/v0", ""),
        histories.Reconnect((), "id", 0),
        *(histories.Ask(path, "") for path in ("/pub", "/pub/hid", "/pub/x", "/hid/h0")),
        histories.Ask("/pub/hid", "DELETE"),
        histories.Dav("MOVE", "/pub/hid", "infinity"),
    ],
    one=[_HIDES, [*_HIDES, histories.Hidden("lock", "/pub/hid/h0", "")], *[[]] * 8],
    other=[[histories.Hidden("rmdir", "/pub/hid/s", "")], *[[]] * 9],
    ground=histories.Ground(("mode", "acl"), "mode", ("mode", "group")),
)
"""Two histories that tell of each check whether it is there: for the short form."""


@pytest.fixture(autouse=True)
def _nothing_remembered() -> Iterator[None]:
    """Forget what was decided with other checks, before and afterwards."""
    _forget()
    yield
    _forget()


def _forget() -> None:
    for remembered in (scope._compiled, scope.named_scope, scope.own_scope, scope.recursive_scope):
        remembered.cache_clear()
    gc.collect()  # decisions are kept by principals


def test_the_telling_histories_tell_nothing_when_all_is_well() -> None:
    """Else what they find would be no sign of a broken check."""
    assert not difference(TELLING)


@pytest.mark.parametrize("name", BREAKS)
def test_a_broken_check_is_noticed_at_once(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The short form: by histories that are made for it."""
    BREAKS[name](monkeypatch)
    assert difference(TELLING)


@pytest.mark.conformance
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", BREAKS)
def test_a_broken_check_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some pair of random histories tells that the check is gone."""
    BREAKS[name](monkeypatch)
    assert find(scenes.PAIRS, lambda pair: bool(difference(pair)), settings=SEARCH)
