"""Finds the event types: the modules of this package and what other packages offer.

A module here that has an `EVENT_TYPE`, or an entry point in group `storage_events.event_types`,
is an event type. Two of one name are refused when the process starts.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from importlib import metadata
from typing import TYPE_CHECKING, Final

from schemas.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pipeline.event_types.base import EventType, Subscribable

GROUP: Final = "storage_events.event_types"


def _found() -> Iterator[tuple[str, Subscribable]]:
    """Yield each event type with where it was found."""
    package = importlib.import_module("pipeline.event_types")
    for module in pkgutil.iter_modules(package.__path__, "pipeline.event_types."):
        event_type = getattr(importlib.import_module(module.name), "EVENT_TYPE", None)
        if event_type is not None:
            yield module.name, event_type
    for entry_point in metadata.entry_points(group=GROUP):
        yield f"entry point {entry_point.value}", entry_point.load()


def unique(found: Iterable[tuple[str, Subscribable]]) -> dict[str, Subscribable]:
    """Return event types by name, sorted.

    Args:
        found: each with where it was found.

    Raises:
        SettingsError: two have one name; the message says where they are.
    """
    event_types: dict[str, Subscribable] = {}
    places: dict[str, str] = {}
    for place, event_type in found:
        name = event_type.name
        if name in event_types:
            raise SettingsError(f"two event types are called {name}: {places[name]} and {place}")
        event_types[name], places[name] = event_type, place
    return dict(sorted(event_types.items()))


@functools.cache
def offered() -> dict[str, Subscribable]:
    """Return all that clients can subscribe to, by name, sorted: what the API lists."""
    return unique(_found())


@functools.cache
def all() -> dict[str, EventType]:  # noqa: A001 - `registry.all()` is what it is
    """Return the event types that are derived from billing, by name, sorted."""
    return {name: kind for name, kind in offered().items() if _is_derived(kind)}  # type: ignore[misc]


def _is_derived(event_type: Subscribable) -> bool:
    return hasattr(event_type, "derive")


def get(name: str) -> EventType:
    """Return the derived event type of that name.

    Raises:
        KeyError: there is none.
    """
    return all()[name]
