"""Compiles a function that reads records of a schema."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from schemas.compiled.source import Source

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


def decoder(schema: Any) -> Callable[[bytes, int], dict[str, Any]]:
    """Compile a function that reads a record of `schema`.

    Args:
        schema: the parsed schema.

    Returns:
        A function of the bytes and where the record begins. It raises ValueError (also
        UnicodeDecodeError) or IndexError on bytes that are no such record.
    """
    source = Source(schema)
    source.add("end = len(data)")
    values = _read_fields(source, schema["fields"])
    source.block("if at != end:", "_fail('it does not end where it should')")
    source.add(f"return {_dictionary(values)}")
    return source.compile("decode", "data, at")


def beginning_decoder(schema: Any, fields: int) -> Callable[[bytes, int], tuple[Any, ...]]:
    """Compile a function that reads the first fields of a record, as a tuple.

    It is a `decoder` otherwise; the rest of the bytes is left alone.
    """
    source = Source(schema)
    source.add("end = len(data)")
    values = _read_fields(source, schema["fields"][:fields])
    source.block("if at > end:", "_fail('cut off')")
    source.add(f"return {', '.join(values.values())},")
    return source.compile("decode_beginning", "data, at")


def _read_fields(source: Source, fields: Sequence[Any]) -> dict[str, str]:
    """Read fields; return for each the variable that it is in."""
    values = {}
    for field in fields:
        value = values[field["name"]] = source.new()
        _read(source, field["type"], value)
    return values


def _dictionary(values: Mapping[str, str]) -> str:
    return "{" + ", ".join(f"{name!r}: {value}" for name, value in values.items()) + "}"


def _read_number(source: Source, value: str) -> None:
    """Read a number: of one byte from a table, of two here, longer ones by a call."""
    source.add("low = data[at]", f"{value} = _NUMBERS[low]")
    source.block(f"if {value} is not None:", "at += 1")
    source.block(
        "elif (high := data[at + 1]) < 0x80:",
        f"{value} = (low & 0x7F | high << 7) >> 1 ^ -(low & 1)",
        "at += 2",
    )
    source.block("else:", f"{value}, at = _long_number(data, at)")


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
        values = _read_fields(source, schema["fields"])
        source.add(f"{value} = {_dictionary(values)}")


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
