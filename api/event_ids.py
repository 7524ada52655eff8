"""Event ids: where a reader is, as a decimal integer that tells nothing and cannot be forged.

A *place* is an event's position in one slot (a shard of an event type, or a metronome) as one
integer that compares like the position: the message's number, the event's rank in it (twice its
index, plus one for the IN_IGNORED that follows it), the subscription that was told.

A *cursor* is all that a reader has been told, in *layers*: a layer says, for the subscriptions up
to its generation and above the previous layer's, the place reached in each slot. Subscriptions
above the last generation start where they were made. One layer is the rule; a second one appears
while a late subscription catches up with the others.

A cursor of one layer and one slot is a single AES block (decision record 3), so those of many
channels are enciphered in one call; any other is AES-SIV. Both are bound to their channel.
"""

from __future__ import annotations

import functools
import hashlib
import secrets
import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import ciphers
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

NUMBER_SHIFT: Final = 48
_RANK_SHIFT: Final = 32
MOST_SHORT: Final = 0xFFFF
"""Generations above this, and sequences from it on, make long ids."""

END_RANK: Final = 0xFE
"""The rank of the end of a message; endings by other causes are put behind it, above this."""

_MAX_SEQUENCE: Final = (1 << _RANK_SHIFT) - 1
_MAX_RANK: Final = (1 << (NUMBER_SHIFT - _RANK_SHIFT)) - 1

_BLOCK_BYTES: Final = 16
_BLOCK_LIMIT: Final = 1 << 128
_PAIRS: Final = struct.Struct(">QQ")
_LONG_MARK: Final = b"\x01"
_TAG_BYTES: Final = 6
_TAG_MASK: Final = (1 << 40) - 1
_LONGEST_ID: Final = 100_000
"""Digits; a longer Last-Event-ID is not even looked at."""


def place(number: int, rank: int = 0, sequence: int = 0) -> int:
    """Return the place of an event; places of one slot compare like positions."""
    return number << NUMBER_SHIFT | rank << _RANK_SHIFT | sequence


def end_of(number: int) -> int:
    """Return the place behind all events of a message."""
    return place(number, END_RANK, _MAX_SEQUENCE)


def behind(number: int) -> int:
    """Return the place behind a message and all endings that were put behind it."""
    return place(number + 1) - 1


def number_of(at: int) -> int:
    """Return the message's number of a place."""
    return at >> NUMBER_SHIFT


def read_from(at: int) -> int:
    """Return the number of the last message of which a reader at this place needs nothing."""
    return number_of(at) if at >= end_of(number_of(at)) else max(0, number_of(at) - 1)


def ending_rank(at: int, number: int) -> int:
    """Return a rank for an ending behind message `number` that a reader at `at` has not passed."""
    if number_of(at) < number:
        return END_RANK + 1
    return max(END_RANK, at >> _RANK_SHIFT & _MAX_RANK) + 1


class Layer(NamedTuple):
    """What the subscriptions up to a generation have been told.

    Attributes:
        generation: the highest subscription sequence it speaks of.
        places: for each slot, the place reached; absent: nothing yet.
    """

    generation: int
    places: dict[str, int]


Cursor = tuple[Layer, ...]


def normal(layers: Iterable[Layer]) -> Cursor:
    """Return the layers with equal neighbours made one."""
    result: list[Layer] = []
    for layer in layers:
        if result and result[-1].places == layer.places:
            result[-1] = layer
        else:
            result.append(layer)
    return tuple(result)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def _tag(slot: str) -> bytes:
    return hashlib.blake2b(slot.encode(), digest_size=_TAG_BYTES).digest()


class Cipher:
    """Enciphers the ids of all channels; one per server key, see `cipher_of`.

    Args:
        server_key: 32 bytes, the same on all nodes.
    """

    __slots__ = ("decipher", "siv", "tag_key", "update")

    def __init__(self, server_key: bytes) -> None:
        keys = HKDF(SHA256(), 80, None, b"event ids of all channels").derive(server_key)
        block = ciphers.Cipher(AES(keys[:16]), ECB())  # noqa: S305 - decision record 3
        self.update: Callable[[bytes], bytes] = block.encryptor().update
        self.decipher: Callable[[bytes], bytes] = block.decryptor().update
        self.siv = AESSIV(keys[16:48])
        self.tag_key = keys[48:]

    def ids(self, halves: Sequence[int]) -> list[bytes]:
        """Return the ids of blocks, given as high, low, high, low, ...: one call for all."""
        layout = f">{len(halves)}Q"
        made = struct.unpack(layout, self.update(struct.pack(layout, *halves)))
        pairs = zip(made[::2], made[1::2], strict=True)
        return [b"%d" % (high << 64 | low) for high, low in pairs]


@functools.lru_cache(maxsize=8)
def cipher_of(server_key: bytes) -> Cipher:
    """Return the cipher of a server key."""
    return Cipher(server_key)


class Ids:
    """Makes and reads one channel's event ids.

    Args:
        server_key: 32 bytes, the same on all nodes.
        channel_id: the channel.
        first_slot: the slot that short ids speak of; "" if the channel has none yet.
    """

    __slots__ = ("_tag", "channel_id", "cipher", "first_slot")

    def __init__(self, server_key: bytes, channel_id: str, first_slot: str) -> None:
        self.cipher = cipher_of(server_key)
        self.channel_id = channel_id
        self.first_slot = first_slot
        tag = hashlib.blake2b(channel_id.encode(), key=self.cipher.tag_key, digest_size=5)
        self._tag = int.from_bytes(tag.digest(), "big")

    def low_half(self, sequence: int, generation: int) -> int:
        """Return the second half of a block; of a place, its last bits are the sequence."""
        return (sequence & 0xFF) << 56 | generation << 40 | self._tag

    def encode(self, cursor: Cursor) -> bytes:
        """Return the id of a cursor."""
        if len(cursor) == 1 and len(cursor[0].places) == 1:
            ((slot, at),) = cursor[0].places.items()
            high = high_half(at)
            if slot == self.first_slot and high is not None and cursor[0].generation <= MOST_SHORT:
                return self.cipher.ids((high, self.low_half(at, cursor[0].generation)))[0]
        plain = bytearray(_varint(len(cursor)))
        for layer in cursor:
            plain += _varint(layer.generation) + _varint(len(layer.places))
            for slot, at in sorted(layer.places.items()):
                rank, sequence = at >> _RANK_SHIFT & _MAX_RANK, at & _MAX_SEQUENCE
                plain += _tag(slot) + _varint(at >> NUMBER_SHIFT) + _varint(rank)
                plain += _varint(sequence)
        sealed = self.cipher.siv.encrypt(bytes(plain), [self.channel_id.encode()])
        return b"%d" % int.from_bytes(_LONG_MARK + sealed, "big")

    def salted(self, cursor: Cursor) -> bytes:
        """Return an id of a cursor that is another one each time.

        It names where a node is, not an event: equal ids would tell that nothing happened since,
        to anybody, and different ones that something did.
        """
        first, *others = cursor
        places = {**first.places, secrets.token_hex(_TAG_BYTES): 0}  # left out when it is read
        return self.encode((Layer(first.generation, places), *others))

    def decode(self, text: str, slots: Iterable[str]) -> Cursor | None:
        """Read an id.

        Args:
            text: what a client sent.
            slots: the slots that are known; places in others are left out.

        Returns:
            The cursor, or None for what is not an id of this channel.
        """
        if not text.isascii() or not text.isdigit() or len(text) > _LONGEST_ID:
            return None
        value = _to_int(text)
        return self._short(value) if value < _BLOCK_LIMIT else self._sealed(value, slots)

    def _short(self, value: int) -> Cursor | None:
        block = self.cipher.decipher(value.to_bytes(_BLOCK_BYTES, "big"))
        high, low = _PAIRS.unpack(block)
        if low & _TAG_MASK != self._tag or not self.first_slot:
            return None
        number, rank = high >> 16, high >> 8 & 0xFF
        sequence, generation = (high & 0xFF) << 8 | low >> 56, low >> 40 & 0xFFFF
        last = rank == END_RANK and sequence == 0xFFFF
        at = end_of(number) if last else place(number, rank, sequence)
        return (Layer(generation, {self.first_slot: at}),)

    def _sealed(self, value: int, slots: Iterable[str]) -> Cursor | None:
        data = value.to_bytes((value.bit_length() + 7) // 8, "big")
        if not data.startswith(_LONG_MARK):
            return None
        try:
            plain = self.cipher.siv.decrypt(data[1:], [self.channel_id.encode()])
        except (InvalidTag, ValueError):
            return None
        return _read_layers(plain, {_tag(slot): slot for slot in slots})


def _to_int(text: str) -> int:
    """Read digits, however many; Python refuses more than some thousands at once."""
    step = 4000
    value = 0
    for start in range(0, len(text), step):
        part = text[start : start + step]
        value = value * 10 ** len(part) + int(part)
    return value


def _read_layers(plain: bytes, names: Mapping[bytes, str]) -> Cursor:
    layers = []
    count, at = _read_varint(plain, 0)
    for _ in range(count):
        generation, at = _read_varint(plain, at)
        size, at = _read_varint(plain, at)
        places: dict[str, int] = {}
        for _ in range(size):
            slot = names.get(plain[at : at + _TAG_BYTES])
            number, at = _read_varint(plain, at + _TAG_BYTES)
            rank, at = _read_varint(plain, at)
            sequence, at = _read_varint(plain, at)
            if slot is not None:
                places[slot] = place(number, rank, sequence)
        layers.append(Layer(generation, places))
    return tuple(layers)


def high_half(at: int) -> int | None:
    """Return the first half of the block of a place in the first slot; None if it does not fit.

    Layout of a block: number 6 bytes, rank 1, sequence 2, generation 2, the channel's tag 5.
    """
    number, rank, sequence = at >> NUMBER_SHIFT, at >> _RANK_SHIFT & _MAX_RANK, at & _MAX_SEQUENCE
    if rank == END_RANK and sequence == _MAX_SEQUENCE:
        sequence = MOST_SHORT
    elif sequence >= MOST_SHORT or rank > 0xFF:
        return None
    return None if number >> 48 else number << 16 | rank << 8 | sequence >> 8
