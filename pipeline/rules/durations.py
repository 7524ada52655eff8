"""Durations as ISO 8601 writes them, the form in which dCache takes a macaroon's validity."""

from __future__ import annotations

import re
from typing import Final

_DURATION: Final = re.compile(
    r"P(?:(\d+)W)?(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?", re.ASCII
)
_SECONDS: Final = (7 * 86400, 86400, 3600, 60, 1)


def parse(text: str) -> float:
    """Return the seconds in an ISO 8601 duration such as `PT15M` or `P1DT12H`.

    Raises:
        ValueError: it is none, or is not longer than nothing.
    """
    found = _DURATION.fullmatch(text.strip().upper())
    parts = found.groups() if found else ()
    if not any(parts) or text.strip().upper().endswith("T"):
        raise ValueError(f"{text!r} is not an ISO 8601 duration such as PT15M")
    total = sum(
        float(part) * seconds for part, seconds in zip(parts, _SECONDS, strict=True) if part
    )
    if total <= 0:
        raise ValueError(f"{text!r} is no time at all")
    return total


def iso(seconds: float) -> str:
    """Write whole seconds as an ISO 8601 duration."""
    return f"PT{max(1, int(seconds))}S"
