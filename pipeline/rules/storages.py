"""The storages that a rules file names."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Storage:
    """A storage that URLs point to.

    Attributes:
        url: its WebDAV door, e.g. `https://dcache.example.org:2880/`.
        user: the account whose macaroons are handed out.
        password: its password; hidden from reprs.
    """

    url: str
    user: str
    password: str = field(repr=False)
