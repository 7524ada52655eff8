"""Compiles a function that reads records of a schema."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from schemas.compiled.source import Source

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def decoder(
    schema: Any, *, first_fields: int | None = None
) -> Callable[[bytes, int], dict[str, Any]]:
    """Compile a function that reads a record of `schema`.

    Args:
        schema: the parsed schema.
        first_fields: only so many of its fields, and leave the rest of the bytes; None: all, and
            the bytes must end with the record.

    Returns:
        A function of the bytes and where the record begins. It raises ValueError (also
        UnicodeDecodeError) or IndexError on bytes that are no such record.
    """
    source = Source(schema)
    source.add("end = len(data)")
    pairs = _read_fields(source, schema["fields"][:first_fields])
    if first_fields is None:
        source.block("if at != end:", "_fail('it does not end where it should')")
    else:
        source.block("if at > end:", "_fail('cut off')")
    source.add(f"return {{{pairs}}}")
    return source.compile("decode", "data, at")


def _read_fields(source: Source, fields: Sequence[Any]) -> str:
    pairs = []
    for field in fields:
        value = source.new()
        _read(source, field["type"], value)
        pairs.append(f"{field['name']!r}: {value}")
    return ", ".join(pairs)


def _read_number(source: Source, value: str) -> None:
    source.add(f"{value} = _NUMBERS[data[at]]")
    source.block(f"if {value} is None:", f"{value}, at = _long_number(data, at)")
    source.block("else:", "at += 1")


def _read_sized(source: Source, value: str, suffix: str) -> None:
    source.add("size = _SIZES[data[at]]")
    source.block("if not size:", "size, at = _long_size(data, at)")
    source.add("stop = at + size", f"{value} = data[at + 1 : stop]{suffix}", "at = stop")


def _read(source: Source, schema: Any, value: str) -> None:
    schema = source.resolve(schema)
    if isinstance(schema, list):
        _read_union(source, schema, value)
        return
    kind = schema if isinstance(schema, str) else schema["type"]
    if kind in {"int", "long"}:
        _read_number(source, value)
    elif kind == "boolean":
        source.add(f"{value} = data[at]", "at += 1")
        source.block(f"if {value} > 1:", "_fail('a boolean that is neither')")
        source.add(f"{value} = {value} == 1")
    elif kind in {"string", "bytes"}:
        _read_sized(source, value, ".decode()" if kind == "string" else "")
    elif kind == "fixed":
        source.add(f"{value} = data[at : at + {schema['size']}]", f"at += {schema['size']}")
    elif kind == "array":
        _read_array(source, schema, value)
    elif kind == "record":
        pairs = _read_fields(source, schema["fields"])
        source.add(f"{value} = {{{pairs}}}")


def _read_union(source: Source, schema: Any, value: str) -> None:
    source.add(f"{value} = data[at]", "at += 1", f"if {value} == 2:")
    source.indent()
    _read(source, schema[1], value)
    source.dedent()
    source.block(f"elif {value} == 0:", f"{value} = None")
    source.block("else:", "_fail('no such branch of a union')")


def _read_array(source: Source, schema: Any, value: str) -> None:
    count, item = source.new(), source.new()
    source.add(f"{value} = []", "while True:")
    source.indent()
    _read_number(source, count)
    source.block(f"if not {count}:", "break")
    source.add(f"if {count} < 0:")  # a negative count is followed by the block's size in bytes
    source.indent()
    source.add(f"{count} = -{count}")
    _read_number(source, item)
    source.dedent()
    source.block(f"if {count} > end:", "_fail('more items than bytes')")
    source.add(f"for _ in range({count}):")
    source.indent()
    _read(source, schema["items"], item)
    source.add(f"{value}.append({item})")
    source.dedent()
    source.dedent()
