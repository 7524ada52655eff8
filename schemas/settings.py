"""One way to declare settings, for every process: a frozen dataclass read from the environment.

A field declared with `setting(...)` knows its variable, its unit and what it is for; `--help`, the
reference page and `from_env` come from that alone. An unknown `STORAGE_EVENTS_*` variable is an
error, so a typing mistake is told at start and not found out in production.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar, get_type_hints

from schemas.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX = "STORAGE_EVENTS_"


class Form(NamedTuple):
    """What a text must look like.

    Attributes:
        words: to say it.
        pattern: a regular expression for all of it.
    """

    words: str
    pattern: str


_BROKER: Final = r"(?:[^,:\s\[]+|\[[0-9a-fA-F:]+\]):\d+"
BROKERS: Final = Form("host:port, several with commas", f"(?:{_BROKER}(?:,{_BROKER})*)?")
"""Kafka's addresses, or nothing."""

LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR")
"""Of logging."""

VARIABLES: Final = Path(__file__).with_name("variables.txt")
"""Every variable of every process, one a line; `make reference` writes it."""

_HIGHEST_PORT: Final = 65_535
_KINDS: Final = {int: "a whole number", float: "a number", bool: "yes or no"}
_BOOLEANS = {
    **dict.fromkeys(("1", "true", "yes", "on"), True),
    **dict.fromkeys(("0", "false", "no", "off", ""), False),
}

S = TypeVar("S")


class Secret(str):
    """A string that does not show itself in a repr or a log line."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "Secret('**********')"


def setting(
    variable: str,
    default: Any,
    meaning: str,
    *,
    least: float = 0,
    among: tuple[str, ...] = (),
    form: Form | None = None,
) -> Any:
    """Declare a setting.

    Args:
        variable: the environment variable's full name.
        default: its value when the variable is absent; its type must be the field's.
        meaning: one sentence; the unit belongs into the field's name.
        least: the smallest number that it may be.
        among: the words that it may be, or that a list may have; empty: any.
        form: what a text must look like.
    """
    bounds = {"least": least, "among": among, "form": form}
    metadata = {"variable": variable, "meaning": meaning, **bounds}
    return dataclasses.field(default=default, metadata=metadata)


def _convert(variable: str, kind: Any, text: str) -> Any:
    try:
        if kind is bool:
            return _BOOLEANS[text.lower()]
        if kind in (int, float):
            return kind(text)
        if kind == tuple[str, ...]:
            return tuple(part.strip() for part in text.split(",") if part.strip())
        return kind(text)
    except (ValueError, KeyError) as error:
        wanted = _KINDS.get(kind, f"a {kind}")
        raise SettingsError(f"{variable}: {text!r} is not {wanted}") from error


def _check(variable: str, value: Any, bounds: Mapping[str, Any]) -> None:
    """Check that a value is within what its declaration allows.

    Raises:
        SettingsError: it is not.
    """
    if isinstance(value, int | float):
        if not math.isfinite(value) or value < bounds["least"]:
            raise SettingsError(f"{variable}: {value} is too small, at least {bounds['least']}")
        if variable.endswith("_PORT") and value > _HIGHEST_PORT:
            raise SettingsError(f"{variable}: {value} is no port, at most {_HIGHEST_PORT}")
    elif bounds["among"]:
        unknown = set(value if isinstance(value, tuple) else (value,)) - set(bounds["among"])
        if unknown or value == ():
            words = ", ".join(word or "nothing" for word in bounds["among"])
            raise SettingsError(f"{variable}: must be of {words}")
    elif bounds["form"] and not re.fullmatch(bounds["form"].pattern, value):
        raise SettingsError(f"{variable}: {value!r} is not {bounds['form'].words}")


@functools.cache
def _known() -> frozenset[str]:
    return frozenset(VARIABLES.read_text().split())


def from_env(settings: type[S], environ: Mapping[str, str]) -> S:
    """Build `settings` from the environment.

    Args:
        settings: the dataclass.
        environ: usually `os.environ`; one environment is often shared by all processes of a stack.

    Raises:
        SettingsError: a `STORAGE_EVENTS_*` variable that no process knows, or a value that cannot
            be used.
    """
    known = _known().union(variable for variable, *_ in describe(settings))
    for variable in environ:
        if variable.startswith(PREFIX) and variable not in known:
            near = difflib.get_close_matches(variable, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise SettingsError(f"{variable}: no such setting{hint}")
    bounds = {field.name: field.metadata for field in dataclasses.fields(settings)}  # type: ignore[arg-type] # S is one
    values = {}
    for variable, field, kind, _ in describe(settings):
        if variable in environ:
            values[field] = _convert(variable, kind, environ[variable])
            _check(variable, values[field], bounds[field])
    return settings(**values)


def describe(settings: type) -> list[tuple[str, str, Any, str]]:
    """List a settings class's (variable, field, type, meaning), in the order of declaration."""
    hints = get_type_hints(settings)
    return [
        (field.metadata["variable"], field.name, hints[field.name], field.metadata["meaning"])
        for field in dataclasses.fields(settings)
        if "variable" in field.metadata
    ]


def help_text(settings: type) -> str:
    """Say what can be set, for `--help`."""
    instance = settings()
    lines = []
    for variable, field, kind, meaning in describe(settings):
        default = "(secret)" if kind is Secret else repr(getattr(instance, field))
        lines.append(f"  {variable}\n      {meaning} Default: {default}")
    return "\n".join(lines)
