"""Functions for tests: well-behaved, and each of the ways in which they are not."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.ingest.runners.child import Call


def shout(call: Call) -> None:
    print("shouting", call.path)
    call.files["write"].write_bytes(call.files["read"].read_bytes().upper())


def environment(call: Call) -> None:
    call.files["write"].write_text(repr(sorted(os.environ)))


def nothing(call: Call) -> None:
    pass


def never(call: Call) -> None:
    while True:
        time.sleep(60)


def until_told(call: Call) -> None:
    Path("here").touch()
    while not Path("go").exists():
        time.sleep(0.01)
    shout(call)


def busy(call: Call) -> None:
    while True:
        pass


def gigabyte(call: Call) -> None:
    for _ in range(1024):
        print("x" * (1 << 20))


def large(call: Call) -> None:
    with call.files["write"].open("wb") as file:
        for _ in range(64):
            file.write(b"x" * (1 << 20))


def greedy(call: Call) -> None:
    kept = bytearray(1 << 40)
    print(len(kept))


def wrong(call: Call) -> None:
    print("about to fail", file=sys.stderr)
    raise ValueError("not a FITS file")


def one_in_ten(call: Call) -> None:
    if call.path.endswith("7"):
        raise ValueError("a seven")
    shout(call)
