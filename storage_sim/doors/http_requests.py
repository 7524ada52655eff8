"""Requests as the WebDAV door reads them: cheroot's, where bodies are concerned more careful.

What cheroot 11 does otherwise: it takes `//path` for a host; it says `100 Continue` before anybody
knows whether the upload is wanted; it reads a chunk, or the rest of a refused body, into memory at
once, whatever its size; and it goes on behind a chunked body that was not read to its end.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Any, Final

from cheroot import server

from schemas import http_head
from storage_sim.doors.chunked import ChunkedBody

_TARGET: Final = re.compile(rb"^([A-Z]+ )(?:https?://[^/ ]*)?/+")
_FIELD: Final = re.compile(rb"([-!#$%&'*+.^_`|~0-9A-Za-z]+):[^\x00\r\n]*\r\n")
_PIECE_BYTES: Final = 1 << 18
_DISCARD_MAX_BYTES: Final = 16 << 20


class _OneSlash:
    """The connection's bytes with the request's target in its plain form.

    Grid clients write `//path`, and RFC 9112 (3.2.2) wants absolute targets accepted.
    """

    def __init__(self, raw: Any) -> None:
        self._raw = raw

    def readline(self, *size: int) -> bytes:
        """Return the request line, its target beginning with one slash."""
        line: bytes = self._raw.readline(*size)
        return _TARGET.sub(rb"\1/", line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)


class _Lines:
    """The connection's header lines: refused where RFC 9112 has no such line, and counted by name.

    Of a name that is there twice, or folded, cheroot would believe the last; and it would take
    names with blanks around them for the names without.
    """

    def __init__(self, raw: Any) -> None:
        self._raw = raw
        self.counts: Counter[bytes] = Counter()

    def readline(self, *size: int) -> bytes:
        """Return a header line.

        Raises:
            ValueError: it is none.
        """
        line: bytes = self._raw.readline(*size)
        found = _FIELD.fullmatch(line)
        if found is not None:
            self.counts[found[1].lower()] += 1
        elif line not in (b"", b"\r\n"):
            raise ValueError("Malformed header line")
        return line


class _OnDemand:
    """The connection's bytes, asked for when they are first read."""

    def __init__(self, raw: Any, out: Any) -> None:
        self._raw = raw
        self._out = out
        self.asked = False

    def _ask(self) -> None:
        if not self.asked:
            self.asked = True
            self._out.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def read(self, *size: int) -> bytes:
        """Return bytes of the body."""
        self._ask()
        found: bytes = self._raw.read(*size)
        return found

    def readline(self, *size: int) -> bytes:
        """Return a line of the body."""
        self._ask()
        found: bytes = self._raw.readline(*size)
        return found


class Request(server.HTTPRequest):
    """A request whose body costs no more than it is worth."""

    _expects_continue = False
    _lines: _Lines
    _body: _OnDemand | None = None

    def read_request_line(self) -> Any:
        """Read the first line, its target in plain form."""
        raw, self.rfile = self.rfile, _OneSlash(self.rfile)
        try:
            return super().read_request_line()  # type: ignore[no-untyped-call] # cheroot's
        finally:
            self.rfile = raw

    def read_request_headers(self) -> bool:
        """Read the headers; refuse what has two meanings, and do not ask for the body yet."""
        read = self.header_reader

        def read_without_expect(raw: Any, headers: dict[bytes, bytes]) -> Any:
            self._lines = _Lines(raw)
            read(self._lines, headers)
            expected = headers.pop(b"Expect", b"").lower()
            self._expects_continue = expected == b"100-continue"
            return headers

        self.header_reader = read_without_expect
        if not super().read_request_headers():  # type: ignore[no-untyped-call] # cheroot's
            return False
        fault = self._fault()
        if fault:
            self.simple_response("400 Bad Request", fault)
        return not fault

    def _fault(self) -> str:
        """Say what can be read in two ways; "" for nothing."""
        counts = self._lines.counts
        length = self.inheaders.get(b"Content-Length", b"0")
        coding = self.inheaders.get(b"Transfer-Encoding", b"chunked").lower()
        ends = counts[b"content-length"] + counts[b"transfer-encoding"]
        is_chunked = self.chunked_read or not counts[b"transfer-encoding"]  # never in HTTP/1.0
        if ends > 1 or not length.isdigit() or coding != b"chunked" or not is_chunked:
            return "Where the body ends is not clear"
        if counts[b"authorization"] > 1:
            return "More than one Authorization header"
        version = self.request_protocol.removeprefix(b"HTTP/").decode("latin-1")
        return http_head.fault_of(version, counts[b"host"])

    def respond(self) -> None:
        """Have the request answered."""
        raw: Any = self.conn.rfile
        if self._expects_continue:
            raw = self._body = _OnDemand(raw, self.conn.wfile)
        length = int(self.inheaders.get(b"Content-Length", 0))
        self.rfile = (
            ChunkedBody(raw) if self.chunked_read else server.KnownLengthRFile(raw, length)
        )
        self.server.gateway(self).respond()
        if self.ready:
            self.ensure_headers_sent()
        if self.chunked_write:
            self.conn.wfile.write(b"0\r\n\r\n")

    def send_headers(self) -> None:
        """Send the answer's headers, after what is left of a short body was read.

        Behind a long one, or one that nobody asked for, the connection ends.
        """
        wants_close = any(
            name.lower() == b"connection" and value.lower() == b"close"
            for name, value in self.outheaders
        )
        if wants_close or not self._is_read():
            self.close_connection = True
        super().send_headers()

    def _is_read(self) -> bool:
        """Whether the next byte on the connection is another request's."""
        body = self.rfile
        if self._body is not None and not self._body.asked:
            return False
        if getattr(body, "remaining", 0) > _DISCARD_MAX_BYTES:
            return False
        try:
            for _ in range(_DISCARD_MAX_BYTES // _PIECE_BYTES):
                if not body.read(_PIECE_BYTES):
                    return getattr(body, "remaining", 0) == 0
        except (OSError, ValueError):
            return False
        return False


class Connection(server.HTTPConnection):
    """A connection with such requests."""

    RequestHandlerClass = Request
