"""Does a workload's operations at a WebDAV door, at a steady rate."""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import httpx

from schemas.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from storage_sim.workload import Operation

_TIMEOUT_S: Final = 30.0


def run(
    operations: Iterable[Operation],
    *,
    url: str,
    user: str,
    password: str,
    count: int,
    rate_per_s: float,
) -> int:
    """Do the first operations of a stream, one after the other.

    Args:
        operations: the stream.
        url: the door.
        user: who does it.
        password: theirs.
        count: how many to do.
        rate_per_s: how many a second; 0: as many as the door takes.

    Returns:
        How many were refused.

    Raises:
        Unavailable: the door does not answer.
    """
    refused = 0
    began_s = time.monotonic()
    with httpx.Client(base_url=url, auth=(user, password), timeout=_TIMEOUT_S) as client:
        for number, operation in enumerate(itertools.islice(operations, count)):
            if rate_per_s:
                time.sleep(max(0.0, began_s + number / rate_per_s - time.monotonic()))
            try:
                refused += not _do(client, operation).is_success
            except httpx.TransportError as error:
                raise Unavailable(f"{url} does not answer: {type(error).__name__}") from error
    return refused


def _do(client: httpx.Client, operation: Operation) -> httpx.Response:
    headers = {}
    if operation.target:
        headers["Destination"] = str(client.base_url.join(quote(operation.target)))
    content = bytes(operation.size_bytes) if operation.method == "PUT" else None
    return client.request(
        operation.method, quote(operation.path), content=content, headers=headers
    )
