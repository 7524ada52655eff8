"""From a rules file to the replication rules in it; every mistake is told with its line.

[storages.mountain]
url = "http://127.0.0.1:2880/"
user = "mover"
password_file = "mover.password"

[[replication]]
name = "raw-to-facility"
from = "mountain"
directories = ["/raw"]
matching = "*.fits"
to = ["facility"]
free_source = true
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from pipeline.replication.rules import Rule, RuleSet
from pipeline.rules import document, parts

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pipeline.rules.document import Section
    from pipeline.rules.storages import Storage

_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,100}", re.ASCII)
_KEYS: Final = (
    "name", "from", "to", "copies", *parts.SELECTING, "replacing", "with", "keep", "free_source",
    "free_after",
)  # fmt: skip


def load(path: Path) -> RuleSet:
    """Read a rules file; what is for ingest alone in it is left to ingest.

    Raises:
        RulesError: there is a mistake in it.
    """
    top = document.read(path)
    top.only("replication", "storages", "ingest", "functions")
    storages = parts.storages(top)
    rules: list[Rule] = []
    for part in top.items("replication", "replication rule"):
        rule = _rule(part, storages)
        if any(other.name == rule.name for other in rules):
            raise part.error(f"there are two of this name: {rule.name!r}", "name")
        _check_circle(part, rule, rules)
        rules.append(rule)
    return RuleSet(tuple(rules), storages)


def _rule(part: Section, storages: Mapping[str, Storage]) -> Rule:
    part.only(*_KEYS)
    name = part.need("name", str)
    if not _NAME.fullmatch(name):
        raise part.error(f"name {name!r}: letters, digits, dot, - and _ only", "name")
    source, targets, copies = _places(part, storages)
    keep_s, free_source = _endings(part)
    return Rule(
        name=name,
        source=source,
        targets=targets,
        copies=copies,
        **parts.selection(part),
        derived=parts.derived_path(part),
        keep_s=keep_s,
        free_source=free_source,
        free_after_s=parts.lifetime(part, "free_after", 0.0),
    )


def _places(part: Section, storages: Mapping[str, Storage]) -> tuple[str, tuple[str, ...], int]:
    """Read from where, to where, and how many copies."""
    source, targets = part.need("from", str), part.texts("to")
    if not targets:
        raise part.error("to is missing: which storages get copies", "to")
    for key, storage in (("from", source), *(("to", target) for target in targets)):
        if storage not in storages:
            hint = document.meant(storage, tuple(storages)) if storages else ""
            raise part.error(f"there is no storage {storage!r}{hint}", key)
    if source in targets or len(set(targets)) != len(targets):
        raise part.error("to must name other storages than from, each once", "to")
    copies = part.get("copies", int, len(targets))
    if not 1 <= copies <= len(targets):
        raise part.error(f"copies must be from 1 to {len(targets)}, as many as in to", "copies")
    return source, targets, copies


def _endings(part: Section) -> tuple[float | None, bool]:
    """Read how long copies are kept, and whether the original goes."""
    free_source = part.get("free_source", bool, default=False)
    if "free_after" in part.data and not free_source:
        raise part.error("free_after needs free_source = true", "free_after")
    keep_s = parts.lifetime(part, "keep", 0.0)
    if keep_s and free_source:
        raise part.error("keep with free_source = true would leave no copy at all", "keep")
    return keep_s or None, free_source


def _check_circle(part: Section, rule: Rule, before: list[Rule]) -> None:
    """Refuse two rules that send all files to and fro and free what the other one needs."""
    for other in before:
        is_circle = rule.source in other.targets and other.source in rule.targets
        frees = rule.free_source or other.free_source
        if is_circle and frees and not (_is_narrow(rule) and _is_narrow(other)):
            raise part.error(
                f"with {other.name!r} it sends files to and fro, and one frees what the other"
                " copies; give both directories or matching",
                "to",
            )


def _is_narrow(rule: Rule) -> bool:
    return bool(rule.directories or rule.matching)
