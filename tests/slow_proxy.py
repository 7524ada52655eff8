"""A TCP proxy that delays: each byte leaves so many seconds after it came, in either direction."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_PIECE_BYTES = 65536
_PIECES = 1024


class SlowProxy:
    """Stands before one service; runs in a thread of its own.

    Args:
        port: the service's, on this host.
        delay_s: half of what a question and its answer take longer; may be changed any time.

    Attributes:
        target: the port that the next connections lead to.
    """

    def __init__(self, port: int, delay_s: float = 0.0) -> None:
        self.port = 0
        self.delay_s = delay_s
        self.target = port
        self._loop = asyncio.new_event_loop()
        self._listens = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        self._listens.set()
        self._loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0.1))
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.CancelledError):
            try:
                there, back = await asyncio.open_connection("127.0.0.1", self.target)
                with contextlib.closing(back):
                    await asyncio.gather(self._pass_on(reader, back), self._pass_on(there, writer))
            finally:
                writer.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        late: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_PIECES)

        async def read() -> None:
            piece = b"-"
            while piece:
                piece = await reader.read(_PIECE_BYTES)
                await late.put((self._loop.time() + self.delay_s, piece))

        reading = asyncio.create_task(read())
        try:
            while True:
                due, piece = await late.get()
                await asyncio.sleep(due - self._loop.time())
                if not piece:
                    break
                writer.write(piece)
                await writer.drain()
        finally:
            reading.cancel()
            writer.close()

    @contextlib.contextmanager
    def running(self) -> Iterator[SlowProxy]:
        """Listen on a free port meanwhile."""
        self._thread.start()
        self._listens.wait()
        try:
            yield self
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
