"""One way to declare settings, for every process: a frozen dataclass read from the environment.

A field declared with `setting(...)` knows its variable, its unit and what it is for; `--help`, the
reference page and `from_env` come from that alone. An unknown variable with a process's own prefix
is an error: a typing mistake is told at start and not found out in production.
"""

from __future__ import annotations

import dataclasses
import difflib
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

from schemas.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

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


def setting(variable: str, default: Any, meaning: str) -> Any:
    """Declare a setting.

    Args:
        variable: the environment variable's full name.
        default: its value when the variable is absent; its type must be the field's.
        meaning: one sentence; the unit belongs into the field's name.
    """
    return dataclasses.field(default=default, metadata={"variable": variable, "meaning": meaning})


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
        shown = "its value" if kind is Secret else repr(text)
        raise SettingsError(
            f"{variable}: {shown} is not a {getattr(kind, '__name__', kind)}"
        ) from error


def from_env(
    settings: type[S],
    environ: Mapping[str, str],
    *,
    own: tuple[str, ...] = (),
    others: Iterable[str] = (),
) -> S:
    """Build `settings` from the environment.

    Args:
        settings: the dataclass.
        environ: usually `os.environ`.
        own: what the names of variables begin with that nobody else reads (one environment is
            often shared by all processes of a stack).
        others: variables of other processes that begin so all the same.

    Raises:
        SettingsError: an unknown variable that begins like the process's own, or a value of the
            wrong type.
    """
    declared = {variable for variable, *_ in describe(settings)} | set(others)
    for variable in environ:
        if variable.startswith(own) and variable not in declared:
            near = difflib.get_close_matches(variable, declared, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise SettingsError(f"{variable}: no such setting{hint}")
    values = {
        field: _convert(variable, kind, environ[variable])
        for variable, field, kind, _ in describe(settings)
        if variable in environ
    }
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
