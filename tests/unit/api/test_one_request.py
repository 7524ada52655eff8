"""The query of a one-request stream, and what a snapshot tells."""

from __future__ import annotations

import json

import jsonschema
import pytest
from starlette.datastructures import QueryParams

from api import one_request, snapshots
from api.places import Child
from api.problems import Problem
from pipeline.event_types import inotify, registry
from pipeline.event_types.base import BadSelector


def _read(query: str) -> one_request.Asked:
    return one_request.read(QueryParams(query), registry.offered())


def test_each_path_has_a_selector_with_what_is_common() -> None:
    """Several watches, one channel."""
    asked = _read(
        "watch=/a&watch=/b&recursive=true&flags=IN_CREATE, IN_DELETE&include=*.h5&include=*.nc"
        "&min_size=5&details="
    )
    common = {
        "recursive": True,
        "details": True,
        "include": ["*.h5", "*.nc"],
        "min_size": 5,
        "flags": ["IN_CREATE", "IN_DELETE"],
    }
    assert list(asked.selectors) == [{"path": "/a", **common}, {"path": "/b", **common}]


def test_the_same_query_is_the_same_channel_whatever_its_order_or_token() -> None:
    """A reconnecting client may have a new token."""
    first = _read("watch=/a&recursive=true&authz=x")
    second = _read("recursive=true&authz=y&watch=/a")
    assert first.client_id == second.client_id
    assert not first.is_named
    assert _read("watch=/b&recursive=true").client_id != first.client_id
    assert _read("watch=/a&client-id=me").client_id == "me"


@pytest.mark.parametrize(
    "query",
    ["", "watch=/a&x=1", "watch=/a&min_size=-1", "watch=/a&min_size=" + "9" * 40,
     "watch=/a&snapshot=2", "watch=/a&type=nope", "watch=/a&type=metronome"],
)  # fmt: skip
def test_what_is_not_understood_is_refused(query: str) -> None:
    """Rather than ignored: a typing mistake would look like silence."""
    with pytest.raises(Problem) as refused:
        _read(query)
    assert refused.value.status == 400


def test_a_bad_selector_is_found_before_a_channel_is_made() -> None:
    """By the event type's own check."""
    with pytest.raises(BadSelector):
        _read("watch=/a&flags=IN_NOPE")


def test_a_snapshot_tells_names_types_and_respects_the_filters() -> None:
    """As IN_CREATE, marked, sorted, in ASCII."""
    children = [
        Child("b.h5", {"fileType": "REGULAR", "size": 10}),
        Child("Å", {"fileType": "DIR"}),
        Child("a.txt", {"fileType": "REGULAR", "size": 10}),
        Child("small.h5", {"fileType": "REGULAR", "size": 1}),
        Child("odd.h5", {"fileType": "LINK"}),
    ]
    watch = inotify.EVENT_TYPE.parse(
        {"path": "/", "exclude": ["*.txt"], "min_size": 5, "max_size": 100}
    )
    told = snapshots.payloads(children, watch)
    assert all(one.isascii() for one in told)
    for one in told:
        jsonschema.validate(json.loads(one), dict(inotify.EVENT_TYPE.event_schema))
    assert [json.loads(one) for one in told] == [
        {"name": "b.h5", "mask": ["IN_CREATE"], "snapshot": True},
        {"name": "odd.h5", "mask": ["IN_CREATE"], "snapshot": True},
        {"name": "Å", "mask": ["IN_CREATE", "IN_ISDIR"], "snapshot": True},
    ]


def test_a_snapshot_has_details_if_the_selector_asks_for_them() -> None:
    """In the client's words."""
    watch = inotify.EVENT_TYPE.parse({"path": "data/", "details": True})
    children = [Child("f", {"fileType": "REGULAR", "size": 3}), Child("d", {"fileType": "DIR"})]
    told = [json.loads(one) for one in snapshots.payloads(children, watch)]
    for one in told:
        jsonschema.validate(one, dict(inotify.EVENT_TYPE.event_schema))
    assert [one["details"] for one in told] == [
        {"path": "/data/d"},
        {"path": "/data/f", "size": 3},
    ]
