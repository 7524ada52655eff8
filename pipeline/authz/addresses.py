"""Which addresses count as one client, where something is limited for each."""

from __future__ import annotations

import functools
import ipaddress
from typing import Final

_REMEMBERED: Final = 4096
_NETWORK_BITS: Final = 64
"""An IPv6 client has a network of this prefix to itself, and 2⁶⁴ addresses to come from."""


@functools.lru_cache(maxsize=_REMEMBERED)
def client_of(address: str) -> str:
    """Return what an address is counted under: itself, or of IPv6 the /64 that it is in.

    Args:
        address: IPv4 or IPv6, as text; other text is returned as it is.
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    network = int(parsed) >> _NETWORK_BITS << _NETWORK_BITS
    return str(ipaddress.IPv6Network((network, _NETWORK_BITS)))
