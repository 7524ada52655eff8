"""A rules file as data that knows its lines, so that a mistake is told where it stands.

`tomllib` says nothing about lines, so they are found here by reading table headers and keys;
PyYAML marks every node. Both give a `Section`: a table, its place, and questions that answer with
a value or with an error that names file, line and what was meant.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar

import yaml

from schemas.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

T = TypeVar("T")
Place = tuple[str | int, ...]

_HEADER: Final = re.compile(r"\s*(\[\[?)\s*([^\[\]]+?)\s*\]\]?\s*(?:#.*)?$")
_KEY: Final = re.compile(
    r"\s*((?:[\w-]+|\"[^\"]*\"|'[^']*')(?:\s*\.\s*(?:[\w-]+|\"[^\"]*\"))*)\s*="
)
_INLINE_KEY: Final = re.compile(r"[{,]\s*([\w-]+)\s*=")
_TAB: Final = 8
_KINDS: Final = {
    str: "text",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    list: "a list",
    dict: "a table",
}


class RulesError(SettingsError):
    """A rules file that cannot be used; the message says file, line and what was meant."""


@dataclass(frozen=True)
class Section:
    """One table of a rules file.

    Attributes:
        file: the file, for messages.
        data: its keys and values.
        place: where it is in the file.
        lines: the line of every place in the file.
        title: what it is, for messages, e.g. `ingest rule 'preview'`.
    """

    file: str
    data: Mapping[str, Any]
    place: Place = ()
    lines: Mapping[Place, int] = field(default_factory=dict)
    title: str = ""

    def error(self, message: str, *keys: str | int) -> RulesError:
        """Make an error that points at this table, or at one of its keys."""
        place = self.place + keys
        while place and place not in self.lines:
            place = place[:-1]
        line = self.lines.get(place, 1)
        about = f"{self.title}: " if self.title else ""
        return RulesError(f"{self.file}, line {line}: {about}{message}")

    def only(self, *known: str) -> None:
        """Refuse keys that are not `known`, and say which was meant.

        Raises:
            RulesError: there is another one.
        """
        for key in self.data:
            if key not in known:
                raise self.error(f"there is no {key!r}{_meant(str(key), known)}", key)

    def get(self, key: str, kind: type[T], default: T) -> T:
        """Return a value of that type, or the default where the key is absent.

        Raises:
            RulesError: it is of another type.
        """
        if key not in self.data:
            return default
        value = self.data[key]
        if kind is float and type(value) is int:
            value = float(value)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise self.error(f"{key} must be {_KINDS[kind]}, not {value!r}", key)
        return value

    def need(self, key: str, kind: type[T]) -> T:
        """Return a value that must be there.

        Raises:
            RulesError: it is absent or of another type.
        """
        if key not in self.data:
            raise self.error(f"{key} is missing")
        return self.get(key, kind, kind())

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a list of texts; one text stands for a list of one.

        Raises:
            RulesError: it is something else.
        """
        value = self.data.get(key, [])
        values = [value] if isinstance(value, str) else value
        if not isinstance(values, list) or not all(isinstance(each, str) for each in values):
            raise self.error(f"{key} must be a list of texts, not {value!r}", key)
        return tuple(values)

    def section(self, key: str, title: str = "") -> Section:
        """Return the table under a key; an empty one where it is absent.

        Raises:
            RulesError: it is no table.
        """
        data = self.get(key, dict, {})
        return Section(self.file, data, (*self.place, key), self.lines, title or self.title)

    def tables(self, key: str, title: str) -> Iterator[tuple[str, Section]]:
        """Yield the tables of a table, with their names."""
        inside = self.section(key)
        about = f"{self.title}, " if self.title else ""
        for name in inside.data:
            yield str(name), inside.section(name, f"{about}{title} {name!r}")

    def items(self, key: str, title: str) -> Iterator[Section]:
        """Yield the tables of a list of tables.

        Raises:
            RulesError: it is no list of tables.
        """
        for index, data in enumerate(self.get(key, list, [])):
            if not isinstance(data, dict):
                raise self.error(f"{key} must be a list of tables", key, index)
            name = f"{title} {data['name']!r}" if isinstance(data.get("name"), str) else title
            yield Section(self.file, data, (*self.place, key, index), self.lines, name)


def _meant(key: str, known: tuple[str, ...]) -> str:
    plain = {_plain(name): name for name in known}
    near = difflib.get_close_matches(_plain(key), plain, n=1)
    return f"; did you mean {plain[near[0]]!r}?" if near else f"; known are {', '.join(known)}"


def _plain(key: str) -> str:
    return key.lower().replace("_", "").replace("-", "")


def meant(word: str, known: tuple[str, ...]) -> str:
    """Say which of `known` was probably meant, as the end of a sentence."""
    return _meant(word, known)


def read(path: Path) -> Section:
    """Read a rules file, YAML if its name ends in `.yaml` or `.yml`, else TOML.

    Raises:
        RulesError: it cannot be read, or is not well-formed.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RulesError(f"{path}: cannot be read: {error}") from error
    if path.suffix in {".yaml", ".yml"}:
        return _yaml(str(path), text)
    return _toml(str(path), text)


def _toml(file: str, text: str) -> Section:
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"\(at line (\d+), column \d+\)", str(error))
        line = found.group(1) if found else str(text.count("\n") + 1)
        raise RulesError(f"{file}, line {line}: not TOML: {error}") from error
    return Section(file, data, (), _toml_lines(text))


def _toml_lines(text: str) -> dict[Place, int]:
    lines: dict[Place, int] = {}
    counts: dict[Place, int] = {}
    table: Place = ()
    quote = ""
    for number, line in enumerate(text.splitlines(), 1):
        if quote:
            quote = "" if quote in line else quote
            continue
        if header := _HEADER.match(line):
            table = _table(_parts(header.group(2)), counts, is_item=header.group(1) == "[[")
            for depth in range(1, len(table) + 1):
                lines.setdefault(table[:depth], number)
        elif key := _KEY.match(line):
            place = table + _parts(key.group(1))
            lines.setdefault(place, number)
            for inner in _INLINE_KEY.findall(line[key.end() :]):
                lines.setdefault((*place, inner), number)
        quote = next((mark for mark in ('"""', "'''") if line.count(mark) == 1), "")
    return lines


def _parts(dotted: str) -> Place:
    return tuple(
        part.strip().strip("\"'") for part in re.findall(r"\"[^\"]*\"|'[^']*'|[^.]+", dotted)
    )


def _table(parts: Place, counts: dict[Place, int], *, is_item: bool) -> Place:
    """Return a header's place: lists of tables on the way stand for their newest item."""
    place: Place = ()
    for at, part in enumerate(parts):
        place = (*place, part)
        if is_item and at == len(parts) - 1:
            counts[place] = counts.get(place, -1) + 1
        if place in counts:
            place = (*place, counts[place])
    return place


def _yaml(file: str, text: str) -> Section:
    # The sample of the paper's agent indents one line with a tab, which YAML forbids.
    untabbed = "\n".join(_untab(line) for line in text.split("\n"))
    lines: dict[Place, int] = {}
    try:
        node = yaml.compose(untabbed, Loader=yaml.SafeLoader)
        data = yaml.safe_load(untabbed)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise RulesError(f"{file}, line {line}: not YAML: {error.problem}") from error
    except yaml.YAMLError as error:
        raise RulesError(f"{file}, line 1: not YAML: {error}") from error
    if not isinstance(data, dict):
        raise RulesError(f"{file}, line 1: must be a YAML mapping")
    _yaml_lines(node, (), lines)
    return Section(file, data, (), lines)


def _untab(line: str) -> str:
    body = line.lstrip(" \t")
    return line[: len(line) - len(body)].expandtabs(_TAB) + body


def _yaml_lines(node: Any, place: Place, lines: dict[Place, int]) -> None:
    lines.setdefault(place, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            lines[(*place, key.value)] = key.start_mark.line + 1
            _yaml_lines(value, (*place, key.value), lines)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            _yaml_lines(value, (*place, index), lines)
