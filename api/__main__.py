"""`python -m api serve`: one node."""

from __future__ import annotations

import argparse
import gc
import logging
import os
import signal
import ssl
import sys
from typing import TYPE_CHECKING

import uvicorn

from api import app, settings
from api.guarded_protocol import guarded
from api.limits import AtOnce
from schemas import ports
from schemas.errors import SettingsError
from schemas.logs import repeat_seldom
from schemas.settings import help_text

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence
    from types import FrameType

    from api.services import Services
    from api.settings import ApiSettings

logger = logging.getLogger("api")

_BACKLOG = 2048
_LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"


class Server(uvicorn.Server):
    """uvicorn, saying goodbye to readers before it waits for their connections to end.

    Args:
        config: uvicorn's.
        services: the node.
    """

    def __init__(self, config: uvicorn.Config, services: Services) -> None:
        super().__init__(config)
        self._services = services

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Begin to stop. The signal is not raised again afterwards: the exit status is 0."""
        if self.should_exit and sig == signal.SIGINT:
            self.force_exit = True
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more connections, end the streams, then all else."""
        for server in self.servers:
            server.close()
        await self._services.hub.stop()
        await super().shutdown(sockets)


def serve(chosen: ApiSettings) -> int:
    """Run a node until SIGTERM or SIGINT; return the exit status."""
    services = app.build(chosen)
    config = _config(chosen, services)
    try:
        config.load()
    except OSError as error:  # ssl.SSLError is one
        raise SettingsError(f"TLS certificate and key cannot be used: {error}") from error
    server = Server(config, services)
    # Bound before anything is begun: a port that is taken is told, and nothing has to be ended.
    listening = ports.listen("API_PORT", chosen.host, chosen.port, backlog=_BACKLOG)
    logger.info("listening at %s:%d", chosen.host, chosen.port)
    gc.collect()
    gc.freeze()  # what is there now stays: no later collection needs to look through it
    server.run([listening])
    return 0 if server.started else 1


def _config(chosen: ApiSettings, services: Services) -> uvicorn.Config:
    return uvicorn.Config(
        app.create_app(chosen, services),
        host=chosen.host,
        port=chosen.port,
        loop="uvloop",
        http=guarded(
            head_bytes=chosen.head_bytes,
            head_timeout_s=chosen.head_timeout_s,
            connections=AtOnce("connections-per-address", chosen.connections_per_address),
            origin=services.origin,
        ),
        ws="none",
        lifespan="on",
        proxy_headers=False,
        server_header=False,
        access_log=False,
        log_config=None,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=chosen.shutdown_s,
        ssl_certfile=chosen.tls_certificate or None,
        ssl_keyfile=chosen.tls_key or None,
        ssl_version=ssl.PROTOCOL_TLS_SERVER,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m api",
        description="The window: dCache's events API over Kafka and Redis.",
        epilog="Settings, from the environment:\n\n" + help_text(settings.ApiSettings),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=["serve"], help="run one API node until SIGTERM")
    parser.parse_args(arguments)
    try:
        chosen = settings.from_env(os.environ)
        logging.basicConfig(level=chosen.log_level, format=_LOG_FORMAT)
        logging.getLogger("httpx").setLevel(logging.WARNING)
        logging.getLogger("aiokafka").setLevel(logging.WARNING)
        repeat_seldom("aiokafka")
        return serve(chosen)
    except SettingsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
