"""A file becomes a line of an index: its checksums, size, kind and, for text, its words.

In the rules file:

    [functions.checksum]
    python = "examples.functions.checksum:index"
"""

from __future__ import annotations

import hashlib
import json
import mimetypes
import re
import zlib
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.ingest.runners.child import Call

_CHUNK_BYTES = 1 << 20
_WORDS = 50


def index(call: Call) -> None:
    """Write the index of the file in `read` to `write`, as JSON."""
    source = call.files["read"]
    adler32, sha256, size = 1, hashlib.sha256(), 0
    with source.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            adler32 = zlib.adler32(chunk, adler32)
            sha256.update(chunk)
            size += len(chunk)
    about = {
        "path": call.path,
        "size": size,
        "adler32": f"{adler32:08x}",
        "sha256": sha256.hexdigest(),
        "type": mimetypes.guess_type(call.path)[0] or "application/octet-stream",
        "words": _words(source),
    }
    call.files["write"].write_text(json.dumps(about, indent=1, sort_keys=True) + "\n")
    print(f"{about['sha256']}  {call.path}")


def _words(source: Path) -> dict[str, int]:
    """Return the most frequent words of a text's beginning; of what is no text, none."""
    try:
        text = source.read_bytes()[:_CHUNK_BYTES].decode()
    except UnicodeDecodeError:
        return {}
    found = Counter(word.lower() for word in re.findall(r"[^\W\d_]{3,}", text))
    return dict(sorted(found.items(), key=lambda pair: (-pair[1], pair[0]))[:_WORDS])
