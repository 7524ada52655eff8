"""What the command line answers, and with which exit status."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from pipeline.replication import report
from pipeline.replication.__main__ import main
from pipeline.replication.catalogue import Batch
from pipeline.replication.rules import Rule
from schemas.errors import SettingsError
from tests.unit.pipeline.replication_world import World

if TYPE_CHECKING:
    from pathlib import Path

RULES = """
[storages.a]
url = "http://127.0.0.1:1/"
user = "mover"
password = "secret"

[storages.b]
url = "http://127.0.0.1:2/"
user = "mover"
password = "secret"

[[replication]]
name = "r"
from = "a"
to = ["b"]
"""


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    (tmp_path / "rules.toml").write_text(RULES)
    monkeypatch.setenv("STORAGE_EVENTS_REPLICATION_RULES", str(tmp_path / "rules.toml"))
    monkeypatch.setenv("STORAGE_EVENTS_REPLICATION_STATE", str(tmp_path / "c.sqlite"))
    return World(tmp_path / "c.sqlite", Rule("r", "a", ("b",)))


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    status = main(list(arguments))
    captured = capsys.readouterr()
    return status, captured.out + captured.err


def test_where_names_every_replica(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.added("a", "/f", 1, b"abc")
    world.copy_all()
    status, text = said(capsys, "where", "/f")
    assert (status, text) == (0, "a:/f 3 adler32:024d0127\nb:/f 3 adler32:024d0127\n")
    assert said(capsys, "where", "/g") == (1, "")


def test_missing_says_what_and_why(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "missing") == (0, "")
    world.added("a", "/f", 1)
    world.ledger.failed(world.take(), "b is full")
    status, text = said(capsys, "missing", "r")
    assert status == 3
    assert text.endswith(" r COPY a:/f -> b:/f QUEUED: b is full\n")
    assert said(capsys, "missing", "other") == (0, "")


def test_what_was_given_up_can_be_tried_again_while_the_process_runs(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.added("a", "/f", 1)
    world.ledger.failed(world.take(), "no room", for_good=True)
    status, text = said(capsys, "dead")
    assert (status, text.split(": ")[-1]) == (3, "no room\n")
    assert said(capsys, "retry", "all") == (0, "1 of 1 are QUEUED\n")
    world.now_s = 1e12
    assert world.take().attempts == 0
    assert said(capsys, "retry", "nonsense") == (1, "0 of 1 are QUEUED\n")


def test_another_kafka_is_refused_until_it_is_adopted(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """A catalogue that goes on with offsets of another Kafka would miss what it tells."""
    catalogue = world.catalogue
    assert catalogue.follow("first") == {}
    world.added("a", "/f", 1)
    offsets = catalogue.follow("first")
    assert offsets != {}
    with pytest.raises(SettingsError, match=r"follows Kafka cluster first, .* cluster second"):
        catalogue.follow("second")
    status, text = said(capsys, "adopt")
    assert (status, text.strip().endswith("is in use by another process")) == (1, True)
    world.database.close()
    assert said(capsys, "adopt")[0] == 0
    again = World(world.file, Rule("r", "a", ("b",)))
    assert again.catalogue.follow("second") == {}
    again.catalogue.apply([Batch(0, 1, world.sent)])
    assert again.states() == {("r", "COPY", "QUEUED"): 1}


def test_since_goes_on_from_a_number(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.added("a", "/f", 1)
    world.added("a", "/g", 2)
    status, text = said(capsys, "since")
    first, second = (json.loads(line) for line in text.splitlines())
    assert (status, first["path"], first["change"]) == (0, "/f", "ADDED")
    assert said(capsys, "since", str(first["sequence"])) == (0, json.dumps(second) + "\n")
    assert said(capsys, "since", "x") == (1, "since: 'x' is not a number\n")


def test_status_counts(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.added("a", "/f", 1, b"abc")
    assert said(capsys, "status") == (0, "a: 1 files, 3 bytes\nr: 1 COPY QUEUED\n")


def test_check_says_what_the_rules_are(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "check") == (0, "r: a -> 1 of b\n1 replication rules, 2 storages\n")


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["where"], ["where", "a", "b"]])
def test_wrong_use_is_told(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    status, text = said(capsys, *arguments)
    assert status == 2
    assert text.startswith("usage:")


def test_help_lists_commands_and_settings(capsys: pytest.CaptureFixture[str]) -> None:
    status, text = said(capsys, "--help")
    assert status == 0
    assert "reconcile STORAGE" in text
    assert "STORAGE_EVENTS_REPLICATION_RULES" in text


def test_a_missing_catalogue_and_an_unknown_storage_are_told(
    world: World,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    status, text = said(capsys, "reconcile", "c")
    assert (status, "there is no storage 'c'" in text) == (1, True)
    monkeypatch.setenv("STORAGE_EVENTS_REPLICATION_STATE", str(tmp_path / "none.sqlite"))
    status, text = said(capsys, "status")
    assert (status, text.strip().endswith("there is no catalogue")) == (1, True)


def test_monitoring_is_told_in_prometheus_text(world: World) -> None:
    world.added("a", "/f", 1, b"abc")
    with world.database.reading() as db:
        lines = report.text(db).splitlines()
    assert 'storage_events_replication_bytes{storage="a"} 3' in lines
    assert 'storage_events_replication_jobs{rule="r",action="COPY",state="QUEUED"} 1' in lines
