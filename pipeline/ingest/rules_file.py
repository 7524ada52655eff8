"""From a rules file to a `RuleSet`: our TOML, or the YAML of the paper's demonstrator agent.

Every mistake is told at once, with file, line and what was meant; nothing is guessed at later.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from pipeline.ingest import yaml_rules
from pipeline.ingest.rules import (
    DEFAULT_LIFETIME_S,
    DEFAULT_TOPIC,
    UPLOAD,
    Function,
    NamedUrl,
    Rule,
    RuleSet,
)
from pipeline.rules import document, parts

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pipeline.rules.document import Section
    from pipeline.rules.storages import Storage

_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,100}", re.ASCII)
_PYTHON: Final = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", re.ASCII)
_RULE_KEYS: Final = (
    "name", "function", "topic", *parts.SELECTING, "storages", "derived", "urls",
)  # fmt: skip
_URL_KEYS: Final = ("activity", "lifetime", "replacing", "with", "create_path", "macaroon")
_FUNCTION_KEYS: Final = (
    "python", "command",
    "wall_s", "cpu_s", "memory_bytes", "output_bytes", "log_bytes", "attempts",
)  # fmt: skip


def load(path: Path, *, storage: Storage | None = None) -> RuleSet:
    """Read a rules file.

    Args:
        path: the file; `.yaml` and `.yml` are the paper's form.
        storage: where files of storages are that the file does not name; None: they are nobody's
            concern.

    Raises:
        RulesError: there is a mistake in it.
    """
    top = document.read(path)
    if path.suffix in {".yaml", ".yml"}:
        return yaml_rules.rule_set(top)
    top.only("ingest", "functions", "storages", "replication")
    functions = {name: _function(name, part) for name, part in top.tables("functions", "function")}
    storages = parts.storages(top)
    if storage is not None:
        storages.setdefault("", storage)
    rules = tuple(_rule(part, functions, storages) for part in top.items("ingest", "ingest rule"))
    _check_names(top, rules)
    return RuleSet(rules, functions, storages)


def _check_names(top: Section, rules: tuple[Rule, ...]) -> None:
    seen: set[str] = set()
    for at, rule in enumerate(rules):
        if rule.name in seen:
            raise top.error(f"two ingest rules are called {rule.name!r}", "ingest", at, "name")
        seen.add(rule.name)


def _function(name: str, part: Section) -> Function:
    part.only(*_FUNCTION_KEYS)
    default = Function(name)
    python, command = part.get("python", str, ""), part.texts("command")
    if bool(python) == bool(command):
        raise part.error("needs either python or command")
    if python and not _PYTHON.fullmatch(python):
        raise part.error(f"python {python!r} is not of the form module:function", "python")
    for key in ("wall_s", "cpu_s", "memory_bytes", "output_bytes", "log_bytes", "attempts"):
        if part.get(key, float, 1.0) <= 0:
            raise part.error(f"{key} must be more than 0", key)
    return Function(
        name=name,
        python=python,
        command=command,
        wall_s=part.get("wall_s", float, default.wall_s),
        cpu_s=part.get("cpu_s", int, default.cpu_s),
        memory_bytes=part.get("memory_bytes", int, default.memory_bytes),
        output_bytes=part.get("output_bytes", int, default.output_bytes),
        log_bytes=part.get("log_bytes", int, default.log_bytes),
        attempts=part.get("attempts", int, default.attempts),
    )


def _rule(
    part: Section, functions: Mapping[str, Function], storages: Mapping[str, Storage]
) -> Rule:
    part.only(*_RULE_KEYS)
    topic = part.get("topic", str, DEFAULT_TOPIC)
    for key, value in (("name", part.need("name", str)), ("topic", topic)):
        if not _NAME.fullmatch(value):
            raise part.error(f"{key} {value!r}: letters, digits, dot, - and _ only", key)
    function = part.get("function", str, "")
    if function and function not in functions:
        hint = document.meant(function, tuple(functions)) if functions else ""
        raise part.error(f"there is no function {function!r}{hint}", "function")
    named = part.texts("storages")
    for name in named:
        if name not in storages and "" not in storages:
            hint = document.meant(name, tuple(storages)) if storages else ""
            raise part.error(f"there is no storage {name!r}{hint}", "storages")
    return Rule(
        name=part.need("name", str),
        function=function,
        topic=topic,
        urls=tuple(_url(name, url) for name, url in part.tables("urls", "URL")),
        **parts.selection(part),
        storages=frozenset(named),
        derived=part.get("derived", bool, default=False),
    )


def _url(name: str, part: Section) -> NamedUrl:
    part.only(*_URL_KEYS)
    if not _NAME.fullmatch(name):
        raise part.error(f"URL name {name!r}: letters, digits, dot, - and _ only")
    derived = parts.derived_path(part)
    create_path = part.get("create_path", bool, default=False)
    if create_path and derived is None:
        raise part.error(
            "create_path is for derived paths: give replacing and with", "create_path"
        )
    default = "DOWNLOAD" if derived is None else UPLOAD
    has_macaroon = part.get("macaroon", bool, default=True)
    return NamedUrl(
        name=name,
        activities=parts.activities(part, default) if has_macaroon else (),
        lifetime_s=parts.lifetime(part, "lifetime", DEFAULT_LIFETIME_S),
        derived=derived,
        create_path=create_path,
    )
