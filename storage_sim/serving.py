"""The storage's process while it runs: two doors, a publisher, and an end in order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import threading
from typing import TYPE_CHECKING, Any, Final

import uvicorn

from schemas import ports, tasks

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from storage_sim.doors.rest import Rest
    from storage_sim.publisher import Publisher
    from storage_sim.settings import StorageSettings

log = logging.getLogger(__name__)

_KEEP_ALIVE_S: Final = 75
_BACKLOG: Final = 512


async def run(
    settings: StorageSettings,
    publisher: Publisher,
    *,
    rest: Rest,
    listening: socket.socket,
    door: Any,
) -> None:
    """Serve until SIGTERM or SIGINT; then close the doors, and give Kafka what it takes.

    Args:
        settings: where to listen, and how long to wait for Kafka.
        publisher: drains the outbox meanwhile.
        rest: the REST interface.
        listening: where it listens.
        door: the WebDAV door, bound.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    publishing = asyncio.create_task(publisher.run())
    rest_server = _rest_server(settings, rest)
    serving_rest = asyncio.create_task(rest_server.serve([listening]))
    serving_dav = threading.Thread(target=door.serve, name="webdav", daemon=True)
    serving_dav.start()
    log.info(
        "storage %s: WebDAV on %s:%d, REST on %s:%d",
        settings.name, settings.host, settings.webdav_port, settings.host, settings.rest_port,
    )  # fmt: skip
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({stopping, publishing, serving_rest}, return_when="FIRST_COMPLETED")
        log.info("stopping")
        rest_server.should_exit = True
        await asyncio.to_thread(door.stop)
        await serving_rest
        if not publishing.done():
            left = await publisher.drain(settings.drain_s)
            log.info("stopped; %d records are left for the next start", left)
    finally:
        await tasks.end([stopping, publishing])
        if not publishing.cancelled():
            publishing.result()  # a bug ended it: be loud


def listen(host: str, port: int) -> socket.socket:
    """Bind the REST interface's port.

    Raises:
        SettingsError: it is taken.
    """
    return ports.listen("REST_PORT", host, port, backlog=_BACKLOG)


class _RestServer(uvicorn.Server):
    """Uvicorn without its signal handlers: ours stop both doors, in order."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield


def _rest_server(settings: StorageSettings, rest: Rest) -> uvicorn.Server:
    config = uvicorn.Config(
        rest.application(),
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=5,
        ssl_certfile=settings.tls_certificate or None,
        ssl_keyfile=settings.tls_key or None,
    )
    return _RestServer(config)
