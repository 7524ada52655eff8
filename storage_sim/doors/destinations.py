"""The `Destination` header, safe from WsgiDAV.

WsgiDAV 4.4 decodes it first and splits it then, and so takes an encoded `;` or `?` in a name for
the name's end: a file would be moved over another one. Meanwhile they are lone surrogates, which
no name can have.
"""

from __future__ import annotations

import re
from typing import Final

_HIDDEN: Final = {ord(";"): "\udc3b", ord("?"): "\udc3f"}
_SHOWN: Final = {ord(hidden): chr(shown) for shown, hidden in _HIDDEN.items()}
_SEMICOLON: Final = re.compile("%3b|;", re.IGNORECASE)
_QUESTION_MARK: Final = re.compile("%3f", re.IGNORECASE)


def hide(destination: str) -> str:
    """Return the header's value for WsgiDAV."""
    path, mark, query = destination.partition("?")
    path = _SEMICOLON.sub(_HIDDEN[ord(";")], path)
    return _QUESTION_MARK.sub(_HIDDEN[ord("?")], path) + mark + query


def show(path: str) -> str:
    """Return the path that WsgiDAV made of it, as it is meant."""
    return path.translate(_SHOWN)
