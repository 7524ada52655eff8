"""Triggers: one id for ever, read back by the CloudEvents package and by us."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cloudevents.v1.kafka import KafkaMessage, from_binary
from hypothesis import given
from hypothesis import strategies as st

from pipeline.ingest import triggers
from pipeline.ingest.rules import NamedUrl, Rule
from pipeline.rules import patterns
from schemas.errors import BadRecord
from tests.unit.pipeline.test_ingest_rules import uploaded

RULE = Rule(
    "preview",
    function="fits-preview",
    urls=(
        NamedUrl("read", ("DOWNLOAD",)),
        NamedUrl("write", ("UPLOAD",), derived=patterns.substitution(r"\.fits$", ".png")),
    ),
)


def test_the_cloudevents_package_reads_a_trigger() -> None:
    made = triggers.trigger(RULE, uploaded("/data/å b.fits"))
    data = triggers.value({"read": "http://h/data?authz=M"})
    event = from_binary(KafkaMessage(dict(triggers.headers(made)), b"/data/a.fits", data))
    assert event["id"] == "sim:7:preview"
    assert event["source"] == "/storages/sim"
    assert event["specversion"] == "1.0"
    assert event["type"] == triggers.EVENT_TYPE
    assert event["time"] == "2023-11-14T22:13:20.000001Z"
    assert event["subject"] == "/data/å b.fits"
    assert event["datacontenttype"] == "application/json"
    assert event.get_data() == {"read": "http://h/data?authz=M"}


@given(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1),
    st.integers(0, 2**50),
    st.integers(0, 2**50),
)
def test_what_is_written_is_read_back(name: str, number: int, time_us: int) -> None:
    made = triggers.trigger(RULE, uploaded(f"/data/{name}", number=number, time_us=time_us))
    assert triggers.read(triggers.headers(made), b'{"read":"u"}') == (made, {"read": "u"})


@pytest.mark.parametrize(
    "data", [None, b"", b"[]", b'{"read":1}', b"\xff", json.dumps(1).encode()]
)
def test_what_is_no_trigger_is_a_bad_record(data: Any) -> None:
    with pytest.raises(BadRecord, match="trigger"):
        triggers.read(triggers.headers(triggers.trigger(RULE, uploaded("/a"))), data)


def test_a_missing_attribute_is_named() -> None:
    with pytest.raises(BadRecord, match="KeyError"):
        triggers.read([("ce_id", b"x"), ("ce_time", b"2026-01-01T00:00:00Z"), ("ce_rule", b"r"),
                       ("ce_source", b"/s")], b"{}")  # fmt: skip


def test_an_output_that_cannot_be_derived_is_a_bad_record() -> None:
    with pytest.raises(BadRecord, match=r"not found in /data/a\.txt"):
        triggers.paths(RULE, "/data/a.txt")


@pytest.mark.parametrize("template", ["", "/../x", "//x"])
def test_an_output_that_is_no_other_file_is_a_bad_record(template: str) -> None:
    derived = patterns.substitution(r"(\.fits)$" if template else r"(x*)$", template)
    rule = Rule("r", urls=(NamedUrl("write", ("UPLOAD",), derived=derived),))
    with pytest.raises(BadRecord, match="no path of another file"):
        triggers.paths(rule, "/data/a.fits")
