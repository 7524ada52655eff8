"""The table of attacks names tests that exist, and tells no story of its own."""

from __future__ import annotations

import ast
import re

from tests.architecture.test_size_and_docs import ROOT

_ROW = re.compile(r"^\| (\d+) \| (.+) \| (.+) \| `([^`]+)::(test_\w+)` \|$", re.MULTILINE)
_FEWEST = 40


def test_each_attack_has_its_test() -> None:
    """Numbered without holes, forty at least, and each test can be run."""
    page = (ROOT / "docs" / "explanation" / "attacks.md").read_text()
    rows = _ROW.findall(page)
    assert [int(number) for number, *_ in rows] == [*range(1, len(rows) + 1)]
    assert len(rows) >= _FEWEST
    assert len(rows) == sum(line.startswith("| ") for line in page.splitlines()) - 1
    missing = [f"{file}::{test}" for *_, file, test in rows if test not in _tests(file)]
    assert missing == []


def _tests(file: str) -> set[str]:
    path = ROOT / file
    if not path.is_file():
        return set()
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in ast.parse(path.read_text()).body if isinstance(node, functions)}
