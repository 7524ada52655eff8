"""Compiles a function that writes records of a schema."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Final

from schemas.compiled.source import Source

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_REMEMBERED: Final = 16 * 1024
_LEAVES: Final = ("int", "long", "string")


def encoder(schema: Any, prefix: bytes) -> Callable[[Mapping[str, Any]], bytes]:
    """Compile a function that writes a record of `schema`, with `prefix` before it."""
    source = Source(schema)
    source.add(f"out = [{prefix!r}]", "add = out.append")
    _write_record(source, schema, "record")
    source.add("return b''.join(out)")
    return source.compile("encode", "record")


def _write_record(source: Source, schema: Any, variable: str) -> None:
    for field in schema["fields"]:
        name = field["name"]
        value = source.new()
        if "default" in field:
            default = _default(source, field)
            source.add(f"{value} = {variable}.get({name!r}, {default!r})")
        else:
            source.add(f"{value} = {variable}[{name!r}]")
        _write(source, field["type"], value)


def _default(source: Source, field: Any) -> Any:
    """Return a field's default; JSON writes bytes as text."""
    schema = source.resolve(field["type"])
    kind = schema["type"] if isinstance(schema, dict) else schema
    default = field["default"]
    return default.encode("latin-1") if kind in ("bytes", "fixed") else default


def _write_array(source: Source, schema: Any, value: str) -> None:
    if schema["items"] not in _LEAVES:
        _write_items(source, schema, value)
        return
    remembered = source.bind(_tuple_encoder(schema))
    source.block(f"if type({value}) is tuple:", f"add({remembered}({value}))")
    source.add("else:")
    source.indent()
    _write_items(source, schema, value)
    source.dedent()


def _tuple_encoder(schema: Any) -> Callable[[tuple[Any, ...]], bytes]:
    """Compile what writes a tuple: those are few, made once, and told in many records."""
    source = Source(schema)
    source.add("out = []", "add = out.append")
    _write_items(source, schema, "items")
    source.add("return b''.join(out)")
    return functools.lru_cache(_REMEMBERED)(source.compile("encode_tuple", "items"))


def _write_items(source: Source, schema: Any, value: str) -> None:
    item = source.new()
    source.add(f"if {value}:")
    source.indent()
    size = source.new()
    source.add(
        f"{size} = len({value})",
        f"add(_VARINTS[{size}] if {size} < _SMALL else _long({size}))",
        f"for {item} in {value}:",
    )
    source.indent()
    _write(source, schema["items"], item)
    source.dedent()
    source.dedent()
    source.add("add(b'\\x00')")


def _write(source: Source, schema: Any, value: str) -> None:
    schema = source.resolve(schema)
    if isinstance(schema, list):
        source.block(f"if {value} is None:", "add(b'\\x00')")
        source.add("else:")
        source.indent()
        source.add("add(b'\\x02')")
        _write(source, schema[1], value)
        source.dedent()
        return
    kind = schema if isinstance(schema, str) else schema["type"]
    if kind in {"int", "long"}:
        source.add(f"add(_VARINTS[{value}] if 0 <= {value} < _SMALL else _{kind}({value}))")
    elif kind == "boolean":
        source.add(f"add(b'\\x01' if {value} else b'\\x00')")
    elif kind in {"string", "bytes"}:
        if kind == "string":
            source.add(f"{value} = {value}.encode()")
        size = source.new()
        source.add(
            f"{size} = len({value})",
            f"add(_VARINTS[{size}] if {size} < _SMALL else _long({size}))",
            f"add({value})",
        )
    elif kind == "fixed":
        source.add(f"add(_fixed({value}, {schema['size']}))")
    elif kind == "array":
        _write_array(source, schema, value)
    elif kind == "record":
        _write_record(source, schema, value)
