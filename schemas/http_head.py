"""Heads of requests that are no HTTP/1.1, whatever the server's parser makes of them.

Two readers of one such request, a proxy and the server behind it say, may take it for two things.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_VERSIONS: Final = frozenset({"1.0", "1.1"})


def fault(scope: Mapping[str, Any]) -> str:
    """Say for what a request has to be refused with 400 (RFC 9112, 2.5 and 3.2); "" for nothing.

    Args:
        scope: an ASGI connection of type `http`.
    """
    return fault_of(scope["http_version"], sum(name == b"host" for name, _ in scope["headers"]))


def fault_of(version: str, hosts: int) -> str:
    """Say for what a request has to be refused with 400; "" for nothing.

    Args:
        version: of HTTP, as `1.1`.
        hosts: how many `Host` headers it has.
    """
    if version not in _VERSIONS:
        return "The version of HTTP must be 1.0 or 1.1"
    if hosts > 1:
        return "More than one Host header"
    if hosts == 0 and version != "1.0":
        return "No Host header"
    return ""
