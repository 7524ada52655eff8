"""A reader that can be killed at any instant: each event is appended to a file by one write.

It is run as a process of its own, `python reader.py FILE AUTHORIZATION PATH NODE...`; it asks one
node after the other, from the last id in the file, for ever. Only the standard library: it starts
two hundred times in one test.
"""

from __future__ import annotations

import http.client
import itertools
import os
import sys
import time
from typing import IO, TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

_AGAIN_S = 0.05
_SILENCE_S = 60.0


class Line(NamedTuple):
    """One event as it is kept: which process read it, its kind, its id, its data."""

    process: int
    kind: str
    id: str
    data: str


def kept(file: IO[bytes] | str | os.PathLike[str]) -> list[Line]:
    """Return what was read so far; a line that a kill has cut is not one."""
    with open(file, "rb") if isinstance(file, str | os.PathLike) else file as source:  # noqa: PTH123
        whole = source.read().decode().split("\n")[:-1]
    return [
        Line(int(process), kind, event_id, data)
        for process, kind, event_id, data in (line.split("\t", 3) for line in whole)
    ]


def _events(answer: http.client.HTTPResponse) -> Iterator[tuple[str, str, str]]:
    fields: dict[str, str] = {}
    while line := answer.readline():
        text = line.decode().rstrip("\n")
        if text:
            name, _, value = text.partition(":")
            fields[name] = value.removeprefix(" ")
        elif fields.get("event"):
            yield fields["event"], fields.get("id", ""), fields["data"]
            fields = {}


def _read(out: int, node: str, path: str, authorization: str, last_id: str) -> str:
    host, _, port = node.rpartition("//")[2].partition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=_SILENCE_S)
    headers = {"Authorization": authorization, "Accept": "text/event-stream"}
    if last_id:
        headers["Last-Event-ID"] = last_id
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        if answer.status != 200:
            return last_id
        for kind, event_id, data in _events(answer):
            os.write(out, f"{os.getpid()}\t{kind}\t{event_id}\t{data}\n".encode())
            last_id = event_id or last_id
    except (OSError, http.client.HTTPException):
        pass
    finally:
        connection.close()
    return last_id


def main(file: str, authorization: str, path: str, *nodes: str) -> None:
    """Read for ever; the end is a kill."""
    _mend(file)
    ids = [line.id for line in kept(file) if line.id]
    last_id = ids[-1] if ids else ""
    out = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    for node in itertools.cycle(nodes):
        last_id = _read(out, node, path, authorization, last_id)
        time.sleep(_AGAIN_S)


def _mend(file: str) -> None:
    """Cut off a line that a kill has left unfinished."""
    with open(file, "ab+") as end:  # noqa: PTH123
        end.seek(0)
        end.truncate(end.read().rfind(b"\n") + 1)


if __name__ == "__main__":
    main(*sys.argv[1:])
