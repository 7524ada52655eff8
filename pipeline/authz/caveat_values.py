"""How the values of caveats are written: instants, durations, networks, identities. Pure."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from schemas.errors import Refused

_INSTANT: Final = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d:\d\d)", re.ASCII
)
_DURATION: Final = re.compile(
    r"P(?:(\d+)W)?(?:(\d+)D)?(?:T(?=\d)(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?",
    re.ASCII | re.IGNORECASE,
)
_DURATION_SECONDS: Final = (7 * 86400, 86400, 3600, 60, 1)
_LONGEST_DURATION: Final = 64
_DECIMAL: Final = re.compile(r"[0-9]{1,19}")


class BadCaveat(Refused):
    """A caveat that cannot be understood or cannot stand where it does; the message says which."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a macaroon speaks for (caveat `id`).

    Attributes:
        uid: numeric user id.
        gids: group ids, the primary one first.
        user: user name.
    """

    uid: int
    gids: tuple[int, ...]
    user: str

    def caveat(self) -> str:
        """Write it as the caveat it was read from."""
        return f"id:{self.uid};{','.join(map(str, self.gids))};{self.user}"


def parse_instant(text: str) -> float:
    """Read an ISO-8601 instant (`2026-11-23T01:02:03.456Z`) as epoch seconds.

    Raises:
        BadCaveat: it is not one.
    """
    if not _INSTANT.fullmatch(text):
        raise BadCaveat(f"not an ISO-8601 instant: {text}")
    try:
        # Six digits of a second are what Python reads; Java writes up to nine.
        return datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text)).timestamp()
    except (ValueError, OverflowError) as error:
        raise BadCaveat(f"not an ISO-8601 instant: {text}") from error


def parse_networks(text: str) -> tuple[str, ...]:
    """Read a comma list of addresses and networks.

    Raises:
        BadCaveat: one of them is neither.
    """
    try:
        return tuple(
            str(ipaddress.ip_network(part.strip(), strict=False)) for part in text.split(",")
        )
    except ValueError as error:
        raise BadCaveat(f"not an address or network: {text}") from error


def parse_identity(text: str) -> Identity:
    """Read `uid;gid[,gid...];name`.

    Raises:
        BadCaveat: it is not of this form.
    """
    parts = text.split(";")
    if len(parts) != 3:
        raise BadCaveat("id must have three parts: uid;gids;name")
    uid, gids, user = parts
    numbers = gids.split(",")
    if not all(_DECIMAL.fullmatch(number) for number in (uid, *numbers)):
        raise BadCaveat("id must have numeric uid and gids")
    if not user:
        raise BadCaveat("id must have a name")
    return Identity(int(uid), tuple(map(int, numbers)), user)


def parse_bytes(text: str) -> int:
    """Read a number of bytes.

    Raises:
        BadCaveat: it is not a decimal number.
    """
    if not _DECIMAL.fullmatch(text):
        raise BadCaveat(f"not a number of bytes: {text}")
    return int(text)


def parse_duration(text: str) -> float:
    """Read an ISO-8601 duration (`PT30M`, `P1DT12H`) as seconds.

    Raises:
        BadCaveat: it is none, or not longer than nothing.
    """
    found = _DURATION.fullmatch(text) if len(text) <= _LONGEST_DURATION else None
    parts = found.groups() if found else ()
    seconds = sum(
        float(part) * unit for part, unit in zip(parts, _DURATION_SECONDS, strict=False) if part
    )
    if seconds <= 0:
        raise BadCaveat(f"not an ISO-8601 duration: {text[:_LONGEST_DURATION]}")
    return seconds
