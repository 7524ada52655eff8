"""Where a request comes from and under which address the client knows us.

Absolute URLs are made from what the client itself wrote (scheme and Host), from a configured base
URL, or, for requests that come from a trusted proxy and only for those, from X-Forwarded-*.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING, Final

from api import problems
from schemas.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.datastructures import Headers
    from starlette.types import Scope

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_LOOPBACK: Final = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))
_HOST: Final = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_SCHEMES: Final = {"http", "https"}

UNKNOWN: Final = "unknown"
"""The address of a client of which none is known."""


def networks(texts: Sequence[str]) -> tuple[Network, ...]:
    """Read addresses and networks.

    Raises:
        SettingsError: one is neither.
    """
    try:
        return tuple(ipaddress.ip_network(text, strict=False) for text in texts)
    except ValueError as error:
        raise SettingsError(f"neither an address nor a network: {error}") from error


def is_in(address: str, among: Sequence[Network]) -> bool:
    """Whether an address (as text) lies in one of the networks."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    return any(parsed in network for network in among)


class Origin:
    """Finds client address and base URL of requests.

    Args:
        base_url: the configured one; "" to go by the request.
        trusted: proxies whose headers are believed.
    """

    def __init__(self, base_url: str, trusted: Sequence[str]) -> None:
        self._base_url = base_url.rstrip("/")
        self._trusted = networks(trusted)

    def is_proxy(self, address: str) -> bool:
        """Whether an address is a trusted proxy's."""
        return is_in(address, self._trusted)

    def _from_proxy(self, scope: Scope) -> bool:
        peer = scope.get("client")
        return peer is not None and self.is_proxy(peer[0])

    def address(self, scope: Scope, headers: Headers) -> str:
        """Return the client's address: the nearest hop that is not one of our proxies."""
        client = scope.get("client")
        peer = client[0] if client else UNKNOWN
        if not self._from_proxy(scope):
            return str(peer)
        hops = [
            hop.strip() for line in headers.getlist("x-forwarded-for") for hop in line.split(",")
        ]
        for hop in reversed(hops):
            try:
                ipaddress.ip_address(hop)
            except ValueError:
                return UNKNOWN  # the proxy's own address would be trusted more than a stranger's
            if not is_in(hop, self._trusted):
                return hop
        return hops[0] if hops else str(peer)

    def is_private(self, scope: Scope, headers: Headers) -> bool:
        """Whether nobody between could read the request: by TLS, or from this machine."""
        scheme = scope["scheme"]
        if self._from_proxy(scope):
            scheme = headers.get("x-forwarded-proto", scheme).rpartition(",")[2].strip().lower()
        return scheme == "https" or is_in(self.address(scope, headers), _LOOPBACK)

    def base_url(self, scope: Scope, headers: Headers) -> str:
        """Return scheme and host without a slash at the end.

        Raises:
            Problem: 400 for a Host that is absent, given twice or not a host.
        """
        if self._base_url:
            return self._base_url
        scheme = scope["scheme"]
        hosts = headers.getlist("host")
        if self._from_proxy(scope):
            scheme = headers.get("x-forwarded-proto", scheme).rpartition(",")[2].strip().lower()
            forwarded = headers.get("x-forwarded-host")
            if forwarded is not None:
                hosts = [forwarded.rpartition(",")[2].strip()]
        if len(hosts) != 1 or not _HOST.fullmatch(hosts[0]) or scheme not in _SCHEMES:
            raise problems.bad_request("Bad Host header")
        return f"{scheme}://{hosts[0]}"
