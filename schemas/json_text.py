"""JSON from outside, read so that all of it can be written down again."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def read(text: bytes, *, constant: Callable[[str], Any] | None = None) -> Any:
    """Return what a JSON text says.

    Args:
        text: in UTF-8, UTF-16 or UTF-32.
        constant: called with NaN and the infinities, which JSON does not have; None: they are
            taken for numbers.

    Raises:
        ValueError: it is no JSON, or has half a surrogate pair, which is no character.
        RecursionError: it is nested too deeply.
    """
    content = json.loads(text, parse_constant=constant)
    json.dumps(content, ensure_ascii=False).encode()
    return content
