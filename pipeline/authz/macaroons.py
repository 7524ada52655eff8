"""Macaroons as bytes: minting, checking, attenuating. What caveats mean is in `caveats`.

The form is dCache's: libmacaroons' version 1 packets in base64url without padding. A minted one
is also plain base64 whose length needs no padding, so that `base64 -d`, which shell clients use to
look into a macaroon, reads it. This is the only module that imports pymacaroons.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
import secrets
from typing import TYPE_CHECKING, Final

import pymacaroons
from pymacaroons import exceptions

from schemas.errors import BadRecord, Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

MAX_CHARACTERS: Final = 32_768
_PREFIX: Final = 4
_BASE64URL: Final = re.compile(r"[A-Za-z0-9_-]+={0,2}")
_HEX4: Final = re.compile(rb"[0-9a-f]{4}")
_SIGNATURE_BYTES: Final = 32
_SIGNATURE_PACKET: Final = _PREFIX + len("signature ") + _SIGNATURE_BYTES + 1
_LONGEST_PACKET: Final = 0xFFFF
_IID_CHARACTERS: Final = 8
_INVALID: Final = "Invalid macaroon"


def _packets(raw: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Take version 1 packets apart, strictly: pymacaroons loops for ever on a length of zero."""
    at = 0
    while at < len(raw):
        prefix = raw[at : at + _PREFIX]
        length = int(prefix, 16) if _HEX4.fullmatch(prefix) else 0
        packet = raw[at + _PREFIX : at + length]
        if len(packet) + _PREFIX != length or not packet.endswith(b"\n"):
            raise BadRecord(_INVALID)
        key, space, value = packet[:-1].partition(b" ")
        if not space:
            raise BadRecord(_INVALID)
        yield key, value
        at += length


def _check_form(token: str) -> bytes:
    """Let through only location, identifier, first-party caveats and signature, in this order.

    Returns:
        The packets.
    """
    if len(token) > MAX_CHARACTERS or not _BASE64URL.fullmatch(token):
        raise BadRecord(_INVALID)
    bare = token.rstrip("=")
    try:
        raw = base64.urlsafe_b64decode(bare + "=" * (-len(bare) % 4))
    except binascii.Error as error:
        raise BadRecord(_INVALID) from error
    packets = list(_packets(raw))
    keys = [key for key, _ in packets]
    caveats = [b"cid"] * (len(keys) - 3)
    if keys != [b"location", b"identifier", *caveats, b"signature"]:
        raise BadRecord(_INVALID)
    if len(packets[-1][1]) != _SIGNATURE_BYTES:
        raise BadRecord(_INVALID)
    return raw


def _packet(key: bytes, value: bytes) -> bytes:
    length = _PREFIX + len(key) + len(value) + 2
    if length > _LONGEST_PACKET:
        raise BadRecord(_INVALID)
    return b"%04x%s %s\n" % (length, key, value)


def _deserialize(token: str) -> pymacaroons.Macaroon:
    _check_form(token)
    try:
        macaroon = pymacaroons.Macaroon.deserialize(token.rstrip("="))
        macaroon.identifier.encode()
        for caveat in macaroon.caveats:
            caveat.caveat_id.encode()
    except (exceptions.MacaroonException, ValueError) as error:
        raise BadRecord(_INVALID) from error
    return macaroon


def looks_like_macaroon(token: str) -> bool:
    """Whether a bearer token is a macaroon by its form; nothing is said about its being valid."""
    try:
        _check_form(token)
    except BadRecord:
        return False
    return True


def _build(key: bytes, key_id: str, location: str, caveats: Sequence[str]) -> pymacaroons.Macaroon:
    macaroon = pymacaroons.Macaroon(location=location, identifier=key_id, key=key)
    for caveat in caveats:
        macaroon.add_first_party_caveat(caveat)
    return macaroon


def mint(key: bytes, key_id: str, location: str, caveats: Sequence[str]) -> str:
    """Issue a macaroon.

    The `iid` caveat, which must be the first, is made here; a few are tried until the token is
    plain base64 too.

    Args:
        key: the secret.
        key_id: its id, which stands in the macaroon.
        location: a hint for the holder; dCache writes the path.
        caveats: the others, `id:…` first.
    """
    size = len(base64.urlsafe_b64decode(_build(key, key_id, location, caveats).serialize() + "=="))
    iid_packet = _PREFIX + len("cid iid:\n") + _IID_CHARACTERS
    characters = _IID_CHARACTERS + -(size + iid_packet) % 3
    plain = True
    for _ in range(64):
        iid = base64.b64encode(secrets.token_bytes(characters)).decode()[:characters]
        token: str = _build(key, key_id, location, [f"iid:{iid}", *caveats]).serialize()
        plain = "-" not in token and "_" not in token
        if plain:
            break
    return token


def verify(token: str, key_lookup: Callable[[str], bytes | None]) -> list[str]:
    """Check that a server that holds the key issued this macaroon, perhaps attenuated since.

    Args:
        token: as it came from the client.
        key_lookup: the secret of a key id; None if there is none (any more).

    Returns:
        Its caveats in order, not looked at yet: see `caveats.combine`.

    Raises:
        Refused: for whatever reason, in the same words.
    """
    try:
        macaroon = _deserialize(token)
    except BadRecord as error:
        raise Refused(_INVALID) from error
    key = key_lookup(macaroon.identifier)
    verifier = pymacaroons.Verifier()
    verifier.satisfy_general(lambda _: True)
    try:
        # A macaroon with an unknown key costs the same time as one with a wrong signature.
        verifier.verify(macaroon, key or secrets.token_bytes(32))
    except exceptions.MacaroonException as error:
        raise Refused(_INVALID) from error
    return [caveat.caveat_id for caveat in macaroon.caveats]


def attenuate(token: str, caveats: Sequence[str]) -> str:
    """Return a weaker macaroon: the same with further caveats. Needs neither key nor server.

    Raises:
        BadRecord: `token` is not a macaroon.
    """
    raw = _check_form(token)
    packets, signature = raw[:-_SIGNATURE_PACKET], raw[-_SIGNATURE_BYTES - 1 : -1]
    # The chain by hand: thousands a second are made, and pymacaroons takes ten times as long.
    for caveat in caveats:
        packets += _packet(b"cid", caveat.encode())
        signature = hmac.digest(signature, caveat.encode(), "sha256")
    weaker = base64.urlsafe_b64encode(packets + _packet(b"signature", signature))
    return weaker.rstrip(b"=").decode()


def caveats_of(token: str) -> list[str]:
    """Read a macaroon's caveats without checking who issued it.

    Raises:
        BadRecord: `token` is not a macaroon.
    """
    return [caveat.caveat_id for caveat in _deserialize(token).caveats]
