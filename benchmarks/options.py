"""What every benchmark can be asked, and how it says how far it is."""

from __future__ import annotations

import argparse
import logging
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_BEGUN_S = time.monotonic()


def parser(name: str, doc: str | None) -> argparse.ArgumentParser:
    """Return a parser that knows what all have in common.

    Args:
        name: of the benchmark.
        doc: its module's docstring, shown as it stands.
    """
    made = argparse.ArgumentParser(
        prog=f"python -m benchmarks {name}",
        description=doc,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--json", action="store_true", help="only the line of JSON")
    return made


def given(
    made: argparse.ArgumentParser, arguments: Sequence[str], quick: Mapping[str, Any]
) -> argparse.Namespace:
    """Return what was asked for.

    Args:
        made: by `parser`, with the benchmark's own options.
        arguments: of the command line.
        quick: the defaults with `--quick`, by option; what is given besides counts more.
    """
    # It says so whenever a topic that was just made has no leader yet, and tries again by itself.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    sizes = " ".join(f"--{name.replace('_', '-')} {_text(size)}" for name, size in quick.items())
    made.add_argument("--quick", action="store_true", help=f"a look at it: {sizes}")
    if "--quick" in arguments:
        made.set_defaults(**quick)
    return made.parse_args(arguments)


def _text(size: Any) -> str:
    return " ".join(map(str, size)) if isinstance(size, list) else str(size)


def say(what: str) -> None:
    """Tell on stderr what is done next, and how long it took so far."""
    passed_s = time.monotonic() - _BEGUN_S
    print(f"  [{passed_s // 60:.0f}:{passed_s % 60:02.0f}] {what}", file=sys.stderr, flush=True)
