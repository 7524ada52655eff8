"""A typo in a rules file ends every process at its start, with the line and what was meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.ingest.__main__ import main as ingest
from pipeline.replication.__main__ import main as replication

TOML = """\
[storages.a]
url = "http://127.0.0.1:1/"
user = "mover"
password = "secret"

[storages.b]
url = "http://127.0.0.1:2/"
user = "mover"
password = "secret"

[functions.f]
command = ["true"]

[[ingest]]
name = "i"
function = "f"

[[replication]]
name = "r"
from = "a"
to = ["b"]
"""
YAML = Path(__file__).with_name("ingest_paper.yaml").read_text()


@pytest.mark.parametrize("command", ["agent", "runner", "check"])
@pytest.mark.parametrize(
    "case",
    [
        ("toml", TOML.replace("function =", "functoin ="), 16, "did you mean 'function'?"),
        ("yaml", YAML.replace("matching:", "matchng:", 1), 15, "did you mean 'matching'?"),
    ],
    ids=["toml", "yaml"],
)
def test_ingest_says_it_and_does_not_start(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
    case: tuple[str, str, int, str],
) -> None:
    suffix, text, line, said = case
    file = tmp_path / f"rules.{suffix}"
    file.write_text(text)
    monkeypatch.setenv("STORAGE_EVENTS_INGEST_RULES", str(file))
    monkeypatch.setenv("STORAGE_EVENTS_INGEST_STATE", str(tmp_path / "state"))
    assert ingest([command]) == 1
    told = capsys.readouterr().err.strip()
    assert told.startswith(f"{file}, line {line}: ")
    assert told.endswith(said)


@pytest.mark.parametrize("command", ["run", "check"])
def test_replication_says_it_and_does_not_start(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
) -> None:
    file = tmp_path / "rules.toml"
    file.write_text(TOML.replace('to = ["b"]', 'too = ["b"]'))
    monkeypatch.setenv("STORAGE_EVENTS_REPLICATION_RULES", str(file))
    monkeypatch.setenv("STORAGE_EVENTS_REPLICATION_STATE", str(tmp_path / "c.sqlite"))
    assert replication([command]) == 1
    told = capsys.readouterr().err.strip()
    assert told.startswith(f"{file}, line 21: ")
    assert told.endswith("did you mean 'to'?")
    assert not (tmp_path / "c.sqlite").exists()
