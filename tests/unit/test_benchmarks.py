"""Every benchmark explains itself, has a size for a look, and says how long it takes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from benchmarks import __main__ as command
from benchmarks import options

EVERY = command.known()


@pytest.mark.parametrize("name", EVERY)
def test_it_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main([name, "--help"])
    said = capsys.readouterr().out
    assert ended.value.code == 0
    assert said.startswith(f"usage: python -m benchmarks {name}")
    assert {"--quick", "--json"} <= set(said.split())
    assert (EVERY[name].__doc__ or "") in said


@pytest.mark.parametrize("name", EVERY)
def test_its_quick_size_is_among_its_options(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what is asked for besides counts more."""
    asked: list[Any] = []
    given = options.given

    def ask(*arguments: Any) -> Any:
        asked.append(given(*arguments))
        raise SystemExit

    monkeypatch.setattr(options, "given", ask)
    for arguments in ([], ["--quick"]):
        with pytest.raises(SystemExit):
            EVERY[name].run(arguments)
    usual, quick = map(vars, asked)
    assert {size: quick[size] for size in EVERY[name].QUICK} == EVERY[name].QUICK
    assert {size: usual[size] for size in EVERY[name].QUICK} != EVERY[name].QUICK


def test_the_usage_says_how_long_each_takes(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name, one in EVERY.items():
        usual_s, quick_s = one.TAKES_S
        assert any(line.split()[:4] == [name, f"{usual_s}", "s", f"{quick_s}"] for line in lines)
        assert quick_s < usual_s <= 120


@pytest.mark.parametrize("arguments", [[], ["nope"], ["all", "--nope"]])
def test_wrong_use_is_told(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(arguments) == 2
    assert capsys.readouterr().out.startswith("usage:")


def test_all_goes_on_when_one_fails_and_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[str] = []

    def run(one: str) -> Any:
        def measure(asked: list[str]) -> None:
            ran.append(one)
            assert asked == ["--quick"]
            if one == "growth":
                raise RuntimeError("too many shards")

        return measure

    for name, one in EVERY.items():
        monkeypatch.setattr(one, "run", run(name))
    assert command.main(["all", "--quick"]) == 1
    said = capsys.readouterr()
    assert ran == [*EVERY]
    assert said.out.startswith(f"{len(EVERY)} benchmarks: about ")
    assert said.out.endswith("failed: growth\n")
    assert "too many shards" in said.err


def test_one_runs_whole(capsys: pytest.CaptureFixture[str]) -> None:
    """The quickest; its last line is JSON, and with `--json` the only one."""
    assert command.main(["scope", "--quick", "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["benchmark"] == "scope"
