"""What no linter checks: small modules and functions, documented names, clean files."""

from __future__ import annotations

import ast
import functools
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("schemas", "storage_sim", "pipeline", "api", "deploy", "benchmarks", "client")
MODULE_LINES = 300
FUNCTION_LINES = 40

# What may be longer, and why it would be worse in pieces.
_ROOT_OF = "a composition root: one list of what is made, in the order in which it is needed"
_SUITE = "one suite for one subject; its cases would be harder to oversee in several files"
LONGER: dict[str, str] = {
    "api/app.py:build": _ROOT_OF,
    "benchmarks/": "a benchmark reads as one story: set up, run, count, print",
    "tests/contract/test_event_types.py": _SUITE,
    "tests/integration/pipeline/plain_storage.py:_handler": "a class that knows its storage",
    "tests/contract/test_channel_store.py": _SUITE,
    "tests/contract/test_dcache_api_rest.py": _SUITE,
    "tests/contract/test_dcache_api_rules.py": _SUITE,
    "tests/contract/test_replay_log.py": _SUITE,
    "tests/integration/pipeline/test_replication.py": _SUITE,
    "tests/integration/storage_sim/test_third_party_copy.py": _SUITE,
    "tests/unit/pipeline/test_caveats.py": _SUITE,
    "tests/unit/pipeline/test_inotify.py": _SUITE,
    "tests/unit/pipeline/test_replication_catalogue.py": _SUITE,
}

# Joined here, so that this file does not find itself.
_HOSTS = [
    ("pypi", "org"), ("files", "pythonhosted"), ("registry", "npmjs"), ("repo", "maven"),
    ("repo1", "maven"), ("deb", "debian"), ("crates", "io"), ("proxy", "golang"),
]  # fmt: skip
_PATHS = [("", "work", ""), ("", "farm", ""), ("", "root", ""), ("", "tmp", "dev")]
_LEAK = re.compile("|".join(["[.]".join(h) for h in _HOSTS] + ["/".join(p) for p in _PATHS]))
_UNFINISHED = re.compile(r"\b(TO[D]O|FIX[M]E|XX[X])\b")


@functools.cache
def tracked(suffix: str = "") -> tuple[Path, ...]:
    """Return the files that git knows or would add, by suffix."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    files = (ROOT / line for line in listed.stdout.splitlines() if line.endswith(suffix))
    return tuple(file for file in files if file.is_file())


@functools.cache
def parsed(file: Path) -> ast.Module:
    """Return a module's syntax tree."""
    return ast.parse(file.read_text())


def sources() -> list[Path]:
    """Return the modules of our packages."""
    return [file for file in tracked(".py") if file.relative_to(ROOT).parts[0] in PACKAGES]


def name_of(file: Path) -> str:
    """Return a module's path as the messages and `LONGER` spell it."""
    return file.relative_to(ROOT).as_posix()


def test_sources_are_found() -> None:
    """The checks below look at something."""
    assert len(sources()) > 20


def long_modules() -> dict[str, int]:
    """Return the modules with more than 300 lines."""
    lengths = {name_of(file): len(file.read_text().splitlines()) for file in tracked(".py")}
    return {name: lines for name, lines in lengths.items() if lines > MODULE_LINES}


def test_modules_are_short() -> None:
    """A module has at most 300 lines, tests too."""
    assert {name: n for name, n in long_modules().items() if not excused(name)} == {}


def _code_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return how many lines a function has, its docstring not counted."""
    assert node.end_lineno is not None
    lines = node.end_lineno - node.lineno + 1
    first = node.body[0]
    if ast.get_docstring(node) and first.end_lineno is not None:
        lines -= first.end_lineno - first.lineno + 1
    return lines


def excused(name: str) -> bool:
    """Whether a module or function, or the folder it is in, stands in `LONGER`."""
    return name in LONGER or name.partition("/")[0] + "/" in LONGER


@functools.cache
def long_functions() -> dict[str, int]:
    """Return the functions with more than 40 lines beside their docstring."""
    return {
        f"{name_of(file)}:{node.name}": _code_lines(node)
        for file in tracked(".py")
        for node in ast.walk(parsed(file))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and _code_lines(node) > FUNCTION_LINES
    }


def test_functions_are_short() -> None:
    """A function has at most 40 lines beside its docstring."""
    assert {name: n for name, n in long_functions().items() if not excused(name)} == {}


def test_exceptions_are_needed() -> None:
    """What `LONGER` excuses is there, and is too long."""
    long = [*long_modules(), *long_functions()]
    assert [each for each in LONGER if not any(name.startswith(each) for name in long)] == []


def _public(tree: ast.Module) -> list[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    found = [node for node in tree.body if isinstance(node, kinds)]
    found = [node for node in found if not node.name.startswith("_")]
    for each in [node for node in found if isinstance(node, ast.ClassDef)]:
        found += [node for node in each.body if isinstance(node, kinds)]
    return [node for node in found if not node.name.startswith("_")]


def test_public_names_are_documented() -> None:
    """Every module, public function, class and method says what it is for."""
    bare = []
    for file in sources():
        tree = parsed(file)
        if not ast.get_docstring(tree):
            bare.append(name_of(file))
        overloads = ("overload", "setter")
        for node in _public(tree):
            marks = [ast.unparse(mark).rpartition(".")[2] for mark in node.decorator_list]
            if not ast.get_docstring(node) and not any(mark in overloads for mark in marks):
                bare.append(f"{name_of(file)}:{node.name}")
    assert bare == []


@pytest.mark.parametrize("pattern", [_LEAK, _UNFINISHED], ids=["leaks", "unfinished"])
def test_files_are_clean(pattern: re.Pattern[str]) -> None:
    """No file names a registry's host or a path of one machine, or is marked unfinished."""
    found = []
    for file in tracked():
        try:
            text = file.read_text()
        except UnicodeDecodeError:
            continue
        lines = enumerate(text.splitlines(), 1)
        found += [f"{name_of(file)}:{n}: {line[:80]}" for n, line in lines if pattern.search(line)]
    assert found == []


# What may skip outside of CI, and why.
MAY_SKIP = {
    "tests/conformance/kernel/test_permissions.py": "only root can become other users",
    "tests/conftest.py": "only root can install the outside programs",
}


def test_no_test_is_skipped() -> None:
    """A skipped test looks like a passed one; nothing here may skip or expect to fail."""
    mark = re.compile(r"pytest[.](skip|xfail|importorskip)|mark[.](skip|skipif|xfail)")
    names = [name_of(file) for file in tracked(".py") if mark.search(file.read_text())]
    assert [name for name in names if name not in MAY_SKIP] == []
