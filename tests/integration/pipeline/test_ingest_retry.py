"""`dead` and `retry`: what was given up is told, and run again with URLs that are good."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from pipeline.ingest import triggers
from pipeline.ingest.__main__ import main
from pipeline.ingest.ledger import Ledger
from pipeline.ingest.ledger_rows import Arrived, Message
from pipeline.ingest.triggers import Trigger
from tests.integration.pipeline import plain_storage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.integration.pipeline.plain_storage import PlainStorage

ID = "sim:7:copy"
TRIGGER = Trigger(
    ID, "copy", "old", "sim", "/data/a", 1, "alice", 5, "00" * 18, "00" * 18, "0:0:755 0:0:644"
)
RULES = """
[storages.sim]
url = "{url}"
user = "ingest"
password = "secret"

[functions.new]
command = ["cp", "{{read}}", "{{write}}"]

[[ingest]]
name = "{name}"
function = "new"
[ingest.urls.read]
[ingest.urls.write]
replacing = '^/data/'
with = '/data/out/'
create_path = true
"""


@pytest.fixture
def storage() -> Iterator[PlainStorage]:
    with plain_storage.running() as running:
        yield running


@pytest.fixture
def ledger(
    storage: PlainStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Ledger]:
    """A ledger that a runner holds, with one job that was given up."""
    (tmp_path / "rules.toml").write_text(RULES.format(url=storage.url, name="copy"))
    monkeypatch.setenv("STORAGE_EVENTS_INGEST_RULES", str(tmp_path / "rules.toml"))
    monkeypatch.setenv("STORAGE_EVENTS_INGEST_STATE", str(tmp_path / "state"))
    held = Ledger(tmp_path / "state")
    arrived = Arrived(ID, triggers.headers(TRIGGER), b'{"read": "gone"}', "ingest", 0, 0)
    held.accept([arrived], [], 0, lambda _: Message("claims", b"", lambda _: b""))
    held.decide([(ID, "me")], "me", read=("cluster", 0, 1), now_s=0)
    held.begin(1)
    held.finish(ID, state="FAILED", reason="its exit status is 3", now_s=60, messages=[])
    yield held
    held.close()


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    status = main(list(arguments))
    captured = capsys.readouterr()
    return status, captured.out + captured.err


@pytest.mark.parametrize("which", [ID, "all"])
def test_a_job_that_was_given_up_runs_again_by_the_rule_as_it_is_now(
    ledger: Ledger, storage: PlainStorage, capsys: pytest.CaptureFixture[str], which: str
) -> None:
    line = f"{ID} 1970-01-01T00:01:00+00:00 /data/a: its exit status is 3\n"
    assert said(capsys, "dead") == (3, line)
    assert said(capsys, "retry", which) == (0, f"{ID}: queued\n")
    assert said(capsys, "dead") == (0, "")
    row = ledger.begin(time.time())
    assert row is not None
    trigger, urls = triggers.read(row.arrived.headers, row.arrived.data)
    assert (trigger.id, trigger.function) == (ID, "new")
    assert set(urls) == {"read", "write"}
    assert urls["write"].startswith(f"{storage.url}/data/out/a?authz=")
    assert "/data/out" in storage.directories
    assert said(capsys, "retry", ID) == (1, f"{ID}: no job of that id was given up\n")


def test_what_cannot_be_run_again_says_why_and_stays(
    ledger: Ledger, storage: PlainStorage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    storage.answer = lambda method, _: 500 if method == "MKCOL" else 0
    status, text = said(capsys, "retry", "all")
    assert (status, "answers MKCOL with 500" in text) == (1, True)
    (tmp_path / "rules.toml").write_text(RULES.format(url=storage.url, name="other"))
    reason = "there is no rule 'copy' with a function any more"
    assert said(capsys, "retry", "all") == (1, f"{ID}: {reason}\n")
    assert [job.id for job in ledger.failed()] == [ID]


def test_wrong_use_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ((), ("nonsense",), ("retry",), ("dead", "x")):
        status, text = said(capsys, *arguments)
        assert (status, text.startswith("usage:")) == (2, True)
