"""Content negotiation: which of the media types on offer a client would rather have (RFC 9110)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def _quality(parameters: str) -> float:
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0


def choose(accept: Sequence[str], offered: Sequence[str]) -> str | None:
    """Return the best type on offer, the first of equals; None if none is acceptable.

    Args:
        accept: the Accept headers; none: anything.
        offered: media types, the preferred one first.
    """
    ranges: dict[str, float] = {}
    for part in ",".join(accept).split(","):
        media_range, _, parameters = part.partition(";")
        if media_range.strip():
            ranges[media_range.strip().lower()] = _quality(parameters)
    if not ranges:
        return offered[0]

    def quality(media_type: str) -> float:
        kind = media_type.partition("/")[0]
        for media_range in (media_type, f"{kind}/*", "*/*"):
            if media_range in ranges:
                return ranges[media_range]
        return 0.0

    best = max(offered, key=quality)
    return best if quality(best) > 0 else None
