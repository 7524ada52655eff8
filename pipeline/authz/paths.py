"""Absolute paths of a storage: what lies below what, and why `..` leads nowhere else."""

from __future__ import annotations


def resolve(base: str, path: str) -> str:
    """Return the storage path of what a user confined to `base` calls `path`; `..` stays inside.

    Args:
        base: an absolute, normal storage path.
        path: what the user wrote, absolute or not.
    """
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return (base.rstrip("/") + "/" + "/".join(parts)).rstrip("/") or "/"


def is_below(path: str, directory: str) -> bool:
    """Whether `path` is `directory` or something in it; both absolute and normal."""
    if directory == "/":
        return True
    return path == directory or path.startswith(directory + "/")
