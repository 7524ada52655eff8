"""Lines of Python that read or write a record, and the few functions that they call."""

from __future__ import annotations

import functools
import itertools
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_SMALL: Final = 16384
_INT32: Final = 2**31
_INT64: Final = 2**63
_LONGEST_BYTES: Final = 10


def _seven_bits(rest: int) -> bytes:
    """Write a number seven bits a byte, the lowest first."""
    out = bytearray()
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out)


# Two bytes that others follow, for each 14 bits; and a whole number of so many bits.
_MIDDLES: Final = tuple(bytes((n & 0x7F | 0x80, n >> 7 | 0x80)) for n in range(_SMALL))
_ENDS: Final = tuple(_seven_bits(n) for n in range(_SMALL))
# The bits above the lowest 28: times have the same for two minutes.
_upper = functools.lru_cache(maxsize=_SMALL)(_seven_bits)
# An Avro int or long: zigzag, then seven bits a byte.
_VARINTS: Final = tuple(_seven_bits(n << 1) for n in range(_SMALL))


def _varint(value: int) -> bytes:
    rest = value << 1 if value >= 0 else ~(value << 1)
    if rest < _SMALL:
        return _ENDS[rest]
    low = _MIDDLES[rest & (_SMALL - 1)]
    rest >>= 14
    if rest < _SMALL:
        return low + _ENDS[rest]
    return low + _MIDDLES[rest & (_SMALL - 1)] + _upper(rest >> 14)


def _int(value: int) -> bytes:
    if not -_INT32 <= value < _INT32:
        raise OverflowError(f"{value} is not an int")
    return _varint(value)


def _long(value: int) -> bytes:
    if not -_INT64 <= value < _INT64:
        raise OverflowError(f"{value} is not a long")
    return _varint(value)


def _fixed(value: bytes, size: int) -> bytes:
    if len(value) != size:
        raise ValueError(f"{len(value)} bytes where {size} belong")
    return value


# For the first byte of a length: that byte and the bytes that follow; 0: a longer or bad one.
_SIZES: Final = tuple(0 if n > 0x7F or n & 1 else (n >> 1) + 1 for n in range(256))
# For the first byte of a number: the number; None: a longer one.
_NUMBERS: Final = tuple(None if n > 0x7F else (n >> 1) ^ -(n & 1) for n in range(256))


@functools.lru_cache(maxsize=_SMALL)
def _upper_bits(data: bytes) -> int:
    """Read what follows the lowest 21 bits, which times have the same for a second."""
    value = 0
    for byte in reversed(data):
        value = value << 7 | byte & 0x7F
    return value << 21


def _long_number(data: bytes, at: int) -> tuple[int, int]:
    """Read a number of several bytes; return it and where it ends."""
    first, second = data[at], data[at + 1]
    if first < 0x80:
        return (first >> 1) ^ -(first & 1), at + 1
    value = first & 0x7F | (second & 0x7F) << 7
    if second < 0x80:
        return (value >> 1) ^ -(first & 1), at + 2
    third = data[at + 2]
    value |= (third & 0x7F) << 14
    if third < 0x80:
        return (value >> 1) ^ -(first & 1), at + 3
    stop = at + 3
    while data[stop] > 0x7F:
        stop += 1
    stop += 1
    if stop - at > _LONGEST_BYTES:
        raise ValueError("a number of more than 64 bits")
    value |= _upper_bits(data[at + 3 : stop])
    return (value >> 1) ^ -(first & 1), stop


def _long_size(data: bytes, at: int) -> tuple[int, int]:
    """Read a length of several bytes; return it with its last byte, and where that is."""
    first, second = data[at], data[at + 1]
    if first & 0x81 == 0x80 and second < 0x80:
        return ((first & 0x7F | second << 7) >> 1) + 1, at + 1
    size, at = _long_number(data, at)
    if size < 0:
        raise ValueError("a negative length")
    return size + 1, at - 1


def _fail(reason: str) -> None:
    raise ValueError(reason)


def _names(schema: Any) -> Iterator[tuple[str, Any]]:
    """Yield the named types inside a schema."""
    if isinstance(schema, list):
        for branch in schema:
            yield from _names(branch)
    elif isinstance(schema, dict):
        if "name" in schema:
            yield schema["name"], schema
        for field in schema.get("fields", ()):
            yield from _names(field["type"])
        yield from _names(schema.get("items"))


class Source:
    """Lines of Python, indented, with names of its own.

    Args:
        schema: the parsed schema; types that it names are known by name.
    """

    def __init__(self, schema: Any) -> None:
        self.lines: list[str] = []
        self.named = dict(_names(schema))
        self._bound: dict[str, Any] = {}
        self._depth = 1
        self._counter = itertools.count()

    def new(self) -> str:
        """Return the name of a new variable."""
        return f"v{next(self._counter)}"

    def bind(self, function: Callable[..., Any]) -> str:
        """Return a name by which the lines can call a function."""
        name = f"_bound{len(self._bound)}"
        self._bound[name] = function
        return name

    def add(self, *lines: str) -> None:
        """Add lines."""
        self.lines += ["    " * self._depth + line for line in lines]

    def block(self, head: str, *lines: str) -> None:
        """Add a line and, one step in, others."""
        self.add(head)
        self._depth += 1
        self.add(*lines)
        self._depth -= 1

    def resolve(self, schema: Any) -> Any:
        """Return the type that a name stands for, and every other type as it is."""
        return self.named.get(schema, schema) if isinstance(schema, str) else schema

    def indent(self) -> None:
        """Go one step in."""
        self._depth += 1

    def dedent(self) -> None:
        """Go one step out."""
        self._depth -= 1

    def compile(self, name: str, signature: str) -> Callable[..., Any]:
        """Return the function whose body the lines are."""
        text = "\n".join([f"def {name}({signature}):", *self.lines])
        scope: dict[str, Any] = {
            "_int": _int, "_long": _long, "_fixed": _fixed, "_fail": _fail,
            "_long_number": _long_number, "_long_size": _long_size, "_NUMBERS": _NUMBERS,
            "_SIZES": _SIZES, "_VARINTS": _VARINTS, "_SMALL": _SMALL,
            **self._bound,
        }  # fmt: skip
        exec(compile(text, f"<compiled {name}>", "exec"), scope)  # noqa: S102 - from our own schemas
        function: Callable[..., Any] = scope[name]
        return function
