"""A directory as a page, for a browser or curl that asks for one."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Iterable

    from storage_sim.inodes import Inode

CONTENT_TYPE = "text/html; charset=utf-8"


def page(path: str, entries: Iterable[Inode]) -> bytes:
    """Return a page of links; names are text in it, whatever they look like.

    Args:
        path: the directory, as the user calls it.
        entries: what is in it.
    """
    title = html.escape(path.rstrip("/") or "/")
    lines = [
        f'<li><a href="{_link(entry)}">{html.escape(_shown(entry))}</a>'
        f"{'' if entry.is_directory else f' {entry.size} bytes'}</li>"
        for entry in entries
    ]
    up = [] if title == "/" else ['<li><a href="../">../</a></li>']
    text = "\n".join(
        [
            f"<!DOCTYPE html>\n<title>{title}</title>\n<h1>{title}</h1>\n<ul>",
            *up,
            *lines,
            "</ul>\n",
        ]
    )
    return text.encode()


def _shown(entry: Inode) -> str:
    return entry.name + "/" if entry.is_directory else entry.name


def _link(entry: Inode) -> str:
    # "./" keeps a name like "javascript:x" from being a scheme
    return "./" + quote(_shown(entry))
