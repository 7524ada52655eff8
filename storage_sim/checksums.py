"""The checksums that are computed while the bytes pass by."""

from __future__ import annotations

import hashlib
import zlib


class Checksums:
    """adler32, md5 and sha256 of a growing sequence of bytes."""

    def __init__(self) -> None:
        self._adler32 = 1
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._sha256 = hashlib.sha256()

    def update(self, chunk: bytes) -> None:
        """Go on with more bytes."""
        self._adler32 = zlib.adler32(chunk, self._adler32)
        self._md5.update(chunk)
        self._sha256.update(chunk)

    def text(self) -> str:
        """Return `algorithm:value` of each, in hex, joined by one space."""
        return (
            f"adler32:{self._adler32:08x} md5:{self._md5.hexdigest()} "
            f"sha256:{self._sha256.hexdigest()}"
        )


def as_dict(text: str) -> dict[str, str]:
    """Read what `text` wrote: algorithm to value."""
    return dict(entry.split(":", 1) for entry in text.split())
