"""A chunked request body, read in pieces of bounded size whatever the client calls a chunk."""

from __future__ import annotations

from typing import IO, Final

_LINE_MAX_BYTES: Final = 4096
_TRAILERS_MAX: Final = 64
_PIECE_BYTES: Final = 1 << 18


class ChunkedBody:
    """A `wsgi.input` over the connection's raw bytes (RFC 9112, 7.1).

    Args:
        raw: the connection, at the first chunk's size.
    """

    def __init__(self, raw: IO[bytes]) -> None:
        self._raw = raw
        self._left = 0
        self._over = False
        self._began = False

    def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes; nothing only at the end.

        Raises:
            ValueError: the body is malformed, or ends too early.
        """
        if size < 0:
            return b"".join(iter(lambda: self.read(_PIECE_BYTES), b""))
        if self._over or size == 0:
            return b""
        if self._left == 0:
            self._next_chunk()
            if self._over:
                return b""
        piece = self._raw.read(min(size, self._left, _PIECE_BYTES))
        if not piece:
            raise ValueError("the body ended within a chunk")
        self._left -= len(piece)
        return piece

    def _next_chunk(self) -> None:
        if self._began and self._raw.read(2) != b"\r\n":
            raise ValueError("a chunk is longer than it said")
        self._began = True
        text = self._line().partition(b";")[0].strip()
        # int() alone would take signs, underscores and blanks
        if not text or text.strip(b"0123456789abcdefABCDEF"):
            raise ValueError("not a chunk size")
        self._left = int(text, 16)
        if self._left == 0:
            self._over = True
            for _ in range(_TRAILERS_MAX):
                if self._line() == b"\r\n":
                    return
            raise ValueError("too many trailers")

    def _line(self) -> bytes:
        line = self._raw.readline(_LINE_MAX_BYTES)
        if not line.endswith(b"\r\n"):
            raise ValueError("the body ended early")
        return line
