"""The checks broken on purpose, one at a time: the comparison must notice each."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, find, settings

from pipeline.authz import scope
from storage_sim import walk
from storage_sim.doors.rest import Rest
from storage_sim.reading import Reading
from tests.conformance.noninterference import histories
from tests.conformance.noninterference.test_noninterference import difference

if TYPE_CHECKING:
    from collections.abc import Callable

    Break = Callable[[pytest.MonkeyPatch], None]

SEARCH = settings(
    max_examples=150,
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


BREAKS: dict[str, Break] = {
    "everybody may see everything": lambda patch: patch.setattr(scope, "may_see", _yes),
    "events with a name are open": lambda patch: patch.setattr(scope, "named_scope", _everybody),
    "recursion looks through": lambda patch: patch.setattr(scope, "recursive_scope", _as_it_is),
    "listings are open": lambda patch: patch.setattr(Reading, "_may_list", _yes),
    "walking needs no right": lambda patch: patch.setattr(
        walk, "scope", SimpleNamespace(allows=_yes)
    ),
    "users are told positions": lambda patch: patch.setattr(Rest, "_is_service", _yes),
}


@pytest.mark.conformance
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", BREAKS)
def test_a_broken_check_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some pair of histories tells that the check is gone."""
    BREAKS[name](monkeypatch)
    assert find(histories.PAIRS, lambda pair: bool(difference(pair)), settings=SEARCH)
