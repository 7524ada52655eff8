"""Event type ingest: who is told of a function's state, and in which words."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline.event_types import ingest
from pipeline.event_types.base import BadSelector, Watch
from schemas import codec

ROOT, EXP, RUN, FILE = (bytes([n]) * 18 for n in range(1, 5))
PERMISSIONS = "0:0:755 0:2000:750 0:2000:711 1:2000:640"


def told(state: str = "FAILED", **about: Any) -> dict[str, Any]:
    """Return a message as a reader has it: written and read once."""
    values = {
        "id": "sim:1:r", "rule": "r", "function": "f", "storage": "sim", "path": "/exp/run/a",
        "attempt": 2, "reason": "its exit status is 1",
    } | about  # fmt: skip
    message = ingest.message(
        shard="ingest:r", number=9, time_us=1, state=state, inode=FILE,
        ancestors=ROOT + EXP + RUN, permissions=PERMISSIONS, **values,
    )  # fmt: skip
    return codec.decode("ingest", codec.encode("ingest", message))


def tell(message: dict[str, Any], watched: bytes, *, recursive: bool = False) -> list[Any]:
    watch = Watch(path="/", recursive=recursive)
    return list(ingest.EVENT_TYPE.tell(message, watch, watched))


def test_the_directory_the_file_and_recursive_watches_above_are_told() -> None:
    message = told()
    assert [one.scope for one in tell(message, RUN)] == ["x=0:2000:750 r=0:2000:711"]
    assert [one.scope for one in tell(message, FILE)] == ["x=0:2000:750 r=1:2000:640"]
    assert tell(message, EXP) == []
    assert tell(message, b"o" * 18, recursive=True) == []
    (above,) = tell(message, EXP, recursive=True)
    assert "r" in above.scope.partition("=")[0]


@pytest.mark.parametrize("state", ["STARTED", "DONE"])
def test_only_a_failure_has_a_reason(state: str) -> None:
    (one,) = tell(told(state), RUN)
    assert json.loads(one.payload) == {
        "state": state, "rule": "r", "function": "f", "path": "/exp/run/a", "attempt": 2,
    }  # fmt: skip
    (failed,) = tell(told(), RUN)
    assert json.loads(failed.payload)["reason"] == "its exit status is 1"


def test_a_user_with_a_root_sees_paths_below_it() -> None:
    watch = Watch(path="/run", root="/exp")
    (one,) = ingest.EVENT_TYPE.tell(told(), watch, RUN)
    assert json.loads(one.payload)["path"] == "/run/a"
    assert one.path == "/exp/run/a"


def test_nothing_is_derived_from_billing() -> None:
    assert ingest.EVENT_TYPE.derive({}) == ()  # type: ignore[typeddict-item]


@pytest.mark.parametrize("selector", [{}, {"path": 1}, {"path": "/", "flags": []}, []])
def test_what_is_no_selector_is_refused(selector: Any) -> None:
    with pytest.raises(BadSelector):
        ingest.EVENT_TYPE.parse(selector)
