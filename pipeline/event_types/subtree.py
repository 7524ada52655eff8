"""Where something is below a watched directory, from the ancestors' ids in a message.

Positions are taken from ids and not by comparing paths: a watch follows its directory through
renames.
"""

from __future__ import annotations

from schemas.vocabulary import FILE_ID_BYTES


def depth(watched: bytes, ancestors: bytes) -> int | None:
    """Return the index of a directory among an object's ancestors, the root's being 0; or None."""
    at = ancestors.find(watched)
    while at > 0 and at % FILE_ID_BYTES:
        at = ancestors.find(watched, at + 1)
    return None if at < 0 else at // FILE_ID_BYTES


def below(path: str, depth: int) -> str:
    """Return what of an object's absolute path is below its ancestor of that depth."""
    return path.split("/", depth + 1)[-1]
