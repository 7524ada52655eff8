"""Request bodies: read with a limit and a deadline, JSON and nothing that JSON does not have."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, NoReturn

from api import problems
from schemas import json_text

if TYPE_CHECKING:
    from starlette.requests import Request


async def read(request: Request, *, limit: str, maximum_bytes: int, timeout_s: float) -> bytes:
    """Read the body.

    Args:
        request: the request.
        limit: the limit's name, for a 413.
        maximum_bytes: its value.
        timeout_s: how long the body may take, in seconds.

    Raises:
        Problem: 413, 408, 415 for a compressed one.
    """
    declared = request.headers.get("content-length", "0")
    if not declared.isdecimal() or int(declared) > maximum_bytes:
        raise problems.too_large(limit, maximum_bytes)
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise problems.Problem(415, "Unsupported Media Type: send the body uncompressed")
    body = bytearray()
    try:
        async with asyncio.timeout(timeout_s):
            async for chunk in request.stream():
                body += chunk
                if len(body) > maximum_bytes:
                    raise problems.too_large(limit, maximum_bytes)
    except TimeoutError as error:
        raise too_slow() from error
    return bytes(body)


def too_slow() -> problems.Problem:
    """Return a 408; the connection is closed, as the rest of the body is not waited for."""
    return problems.Problem(408, "Request Timeout", headers={"Connection": "close"})


def parse(request: Request, body: bytes) -> Any:
    """Read a body as JSON; None when there is none.

    Raises:
        Problem: 415 for another type, 400 for what is not JSON.
    """
    if not body:
        return None
    media_type = request.headers.get("content-type", "application/json")
    media_type = media_type.partition(";")[0].strip().lower()
    if media_type != "application/json" and not media_type.endswith("+json"):
        raise problems.Problem(415, "Unsupported Media Type: expected application/json")
    try:
        return json_text.read(body, constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise problems.bad_request(f"Bad JSON: {_place(error)}") from error


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _place(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at line {error.lineno} column {error.colno}"
    if isinstance(error, UnicodeEncodeError):
        return "half a surrogate pair is no character"
    return "nested too deeply" if isinstance(error, RecursionError) else "not a JSON text"
