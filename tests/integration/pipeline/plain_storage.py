"""A plain HTTP server that keeps files in memory and fails as it is told: what a test needs."""

from __future__ import annotations

import contextlib
import http.server
import json
import threading
import zlib
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from pipeline.authz import macaroons

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KEY = b"k" * 32


class PlainStorage:
    """What the server has and does.

    `answer(method, path)` returns a status to fail with, or 0; it may also block.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.puts: list[str] = []
        self.queries: list[str] = []
        self.answer: Callable[[str, str], int] = lambda _method, _path: 0
        self.url = ""
        self.elsewhere: dict[str, str] = {}
        self.directories = {"", "/data"}
        self.macaroons_asked: list[dict[str, Any]] = []
        self.before = "before:2100-01-01T00:00:00Z"

    def address(self, path: str) -> str:
        return f"{self.url}{path}?authz=MACAROON-OF{path.replace('/', '-')}"


def _handler(storage: PlainStorage) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _begin(self) -> str:
            path = unquote(urlsplit(self.path).path)
            storage.queries.append(urlsplit(self.path).query)
            status = storage.answer(self.command, path)
            if status:
                self.close_connection = True
                self._send(status)
                return ""
            return path

        def _send(self, status: int, body: bytes = b"", data: bytes | None = None) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            if data is not None:
                self.send_header("Digest", f"adler32={zlib.adler32(data):08x}")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def do_GET(self) -> None:
            if path := self._begin():
                data = storage.files.get(path)
                self._send(404) if data is None else self._send(200, data, data)

        do_HEAD = do_GET  # noqa: N815 - the name that http.server calls

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self._begin():
                storage.macaroons_asked.append(asked)
                caveats = ["id:1000;1000;ingest", storage.before, *asked["caveats"]]
                token = macaroons.mint(KEY, "key-1", "/", caveats)
                self._send(200, json.dumps({"macaroon": token}).encode())

        def do_MKCOL(self) -> None:
            if path := self._begin():
                if path in storage.directories:
                    self._send(405)
                elif path.rpartition("/")[0] not in storage.directories:
                    self._send(409)
                else:
                    storage.directories.add(path)
                    self._send(201)

        def do_PUT(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if path := self._begin():
                if path in storage.elsewhere:
                    self.send_response(307)
                    self.send_header("Location", storage.elsewhere[path])
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                storage.files[path] = body
                storage.puts.append(path)
                self._send(201)

        def log_message(self, *arguments: Any) -> None:
            pass

    return Handler


@contextlib.contextmanager
def running() -> Iterator[PlainStorage]:
    storage = PlainStorage()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(storage))
    server.daemon_threads = True
    storage.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield storage
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
