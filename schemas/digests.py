"""Checksums as records and HTTP write them: `adler32:024d0127`, `Digest`, `Repr-Digest`. Pure.

RFC 3230 (`Want-Digest`, `Digest`) writes adler32 in hex and everything else in base64; RFC 9530
(`Want-Repr-Digest`, `Repr-Digest`) has `sha-256=:base64:`.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

ALGORITHMS: Final = {"adler32": "adler32", "md5": "md5", "sha-256": "sha256"}
"""HTTP's names of the algorithms, and the records'."""

WANT_ALL: Final = "adler32,md5;q=0.8,sha-256;q=0.5"
"""What we ask others for."""

_QUALITY: Final = re.compile(r"q\s*=\s*(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)", re.IGNORECASE)
_STRUCTURED: Final = re.compile(r"([a-z0-9-]+)=(\d{1,2})\b")


def wanted(header: str) -> str | None:
    """Return the algorithm of ours that a `Want-Digest` likes best; None: none of them."""
    best, best_quality = None, 0.0
    for item in header.split(","):
        name, _, parameters = item.strip().partition(";")
        algorithm = name.strip().lower()
        found = _QUALITY.search(parameters)
        quality = float(found.group(1)) if found else 1.0
        if algorithm in ALGORITHMS and quality > best_quality:
            best, best_quality = algorithm, quality
    return best


def wanted_repr(header: str) -> str | None:
    """Return the algorithm that a `Want-Repr-Digest` (`sha-256=10, md5=1`) likes best; or None."""
    preferences = {name: int(value) for name, value in _STRUCTURED.findall(header.lower())}
    ours = {name: weight for name, weight in preferences.items() if name in ALGORITHMS and weight}
    return max(ours, key=lambda name: ours[name], default=None)


def encode(algorithm: str, hexadecimal: str) -> str:
    """Write a checksum as a `Digest` value."""
    if algorithm == "adler32":
        return f"adler32={hexadecimal}"
    return f"{algorithm}={base64.b64encode(bytes.fromhex(hexadecimal)).decode()}"


def encode_repr(algorithm: str, hexadecimal: str) -> str:
    """Write a checksum as a `Repr-Digest` value."""
    return f"{algorithm}=:{base64.b64encode(bytes.fromhex(hexadecimal)).decode()}:"


def decode(header: str) -> dict[str, str]:
    """Read a `Digest` (or `Repr-Digest`) header: the records' name of each algorithm to hex.

    What is not understood is left out.
    """
    found: dict[str, str] = {}
    for item in header.split(","):
        name, equals, value = item.strip().partition("=")
        algorithm = ALGORITHMS.get(name.strip().lower())
        if algorithm is None or not equals:
            continue
        value = value.strip().strip(":")
        try:
            if algorithm == "adler32":
                found[algorithm] = f"{int(value, 16):08x}"
            else:
                found[algorithm] = base64.b64decode(value, validate=True).hex()
        except (ValueError, binascii.Error):
            continue
    return found


def agree(ours: Mapping[str, str], theirs: Mapping[str, str]) -> bool | None:
    """Compare two sets of checksums; None when they have no algorithm in common."""
    common = ours.keys() & theirs.keys()
    if not common:
        return None
    return all(ours[algorithm] == theirs[algorithm] for algorithm in common)


def as_dict(checksums: Iterable[str]) -> dict[str, str]:
    """Read a record's checksums (`algorithm:value`, hex): algorithm to value."""
    return {
        algorithm: value
        for algorithm, colon, value in (entry.partition(":") for entry in checksums)
        if colon
    }
