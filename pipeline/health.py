"""Whether a process lives and works, over HTTP: /health/live, /health/ready, /metrics.

*Live* says that the event loop turns. *Ready* says that what it needs answers (Kafka, Redis) and
that nothing stands still: a partition whose end moves away from what is committed, while that does
not move, is named. An orchestrator restarts a process that stays unready.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from typing import TYPE_CHECKING, Final

from schemas.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

    Progress = Mapping[tuple[str, int], tuple[int, int]]

logger = logging.getLogger(__name__)

_REQUEST_S: Final = 5.0
_REQUEST_LINES: Final = 100


class Movement:
    """Tells partitions that stand still although there is work.

    Args:
        stall_s: how long a partition may stand still, in seconds.
        clock: seconds that only go forward.
    """

    def __init__(self, stall_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._stall_s = stall_s
        self._clock = clock
        self._seen: dict[tuple[str, int], tuple[int, float]] = {}

    def stalls(self, progress: Progress) -> list[str]:
        """Return a sentence for each partition that stands still.

        Args:
            progress: end and done offsets by partition; call this regularly.
        """
        now = self._clock()
        for tp in self._seen.keys() - progress.keys():
            del self._seen[tp]
        found = []
        for tp, (end, done) in progress.items():
            seen, since_s = self._seen.get(tp, (-1, now))
            if done != seen or done >= end:
                self._seen[tp] = (done, now)
            elif now - since_s > self._stall_s:
                found.append(
                    f"{tp[0]}-{tp[1]} stands still at {done}, {end - done} records behind, "
                    f"for {now - since_s:.0f} s"
                )
        return found


async def kafka_trouble(bootstrap: str, timeout_s: float = 1.0) -> str:
    """Return why no broker can be reached, or an empty string."""
    reason = "no address"
    for address in bootstrap.split(","):
        host, _, port = address.strip().rpartition(":")
        try:
            async with asyncio.timeout(timeout_s):
                _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
        except (OSError, TimeoutError, ValueError) as error:
            reason = f"{address}: {error!r}"
        else:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
            return ""
    return f"Kafka cannot be reached: {reason}"


def readiness(
    bootstrap: str, *parts: Callable[[], Sequence[str]]
) -> Callable[[], Awaitable[list[str]]]:
    """Return what says in sentences what a process misses; nothing: it is ready.

    Args:
        bootstrap: Kafka's addresses.
        parts: each says what is wrong with it; nothing: it works.
    """

    async def troubles() -> list[str]:
        away = await kafka_trouble(bootstrap)
        return [*([away] if away else []), *(said for part in parts for said in part())]

    return troubles


@contextlib.asynccontextmanager
async def served(
    *,
    host: str,
    port: int,
    variable: str,
    troubles: Callable[[], Awaitable[list[str]]],
    metrics: Callable[[], str],
) -> AsyncIterator[None]:
    """Answer for the process while the block runs.

    Args:
        host: address to listen on.
        port: TCP port; 0: nothing is served.
        variable: the setting that has the port, for the message.
        troubles: gives sentences about what is wrong; none: ready.
        metrics: gives Prometheus's text.

    Raises:
        SettingsError: it cannot listen there.
    """
    if not port:
        yield
        return
    server = HealthServer(host=host, port=port, troubles=troubles, metrics=metrics)
    try:
        await server.start()
    except OSError as error:
        raise SettingsError(f"{variable}: cannot listen there: {error}") from error
    try:
        yield
    finally:
        await server.stop()


class HealthServer:
    """A very small HTTP server; GET only, one request a connection.

    Args:
        host: address to listen on.
        port: TCP port; 0: any free one.
        troubles: gives sentences about what is wrong; none: ready.
        metrics: gives Prometheus's text.
    """

    def __init__(
        self,
        *,
        host: str,
        port: int,
        troubles: Callable[[], Awaitable[list[str]]],
        metrics: Callable[[], str],
    ) -> None:
        self._host = host
        self._port = port
        self._troubles = troubles
        self._metrics = metrics
        self._server: asyncio.Server | None = None

    async def start(self) -> int:
        """Listen; return the port."""
        self._server = await asyncio.start_server(self._serve, self._host, self._port)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def stop(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_REQUEST_S):
                request = (await reader.readline()).decode("latin-1").split()
                for _ in range(_REQUEST_LINES):
                    if (await reader.readline()).strip() == b"":
                        break
                status, kind, body = await self._answer(request)
                content = body.encode()
                writer.write(
                    f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(content)}"
                    "\r\nConnection: close\r\nCache-Control: no-store\r\n\r\n".encode()
                )
                if request[0] != "HEAD":
                    writer.write(content)
                await writer.drain()
        except (OSError, TimeoutError, ValueError, IndexError) as error:
            logger.debug("Health request failed: %r", error)
        finally:
            writer.close()

    async def _answer(self, request: list[str]) -> tuple[str, str, str]:
        method, path = request[0], request[1].partition("?")[0]
        if method not in {"GET", "HEAD"}:
            return "405 Method Not Allowed", "application/json", '{"error": "GET only"}\n'
        if path == "/health/live":
            return "200 OK", "application/json", '{"status": "live"}\n'
        if path == "/health/ready":
            troubles = await self._troubles()
            if troubles:
                body = json.dumps({"status": "not ready", "missing": troubles})
                return "503 Service Unavailable", "application/json", body + "\n"
            return "200 OK", "application/json", '{"status": "ready"}\n'
        if path == "/metrics":
            return "200 OK", "text/plain; version=0.0.4; charset=utf-8", self._metrics()
        return "404 Not Found", "application/json", '{"error": "no such page"}\n'
