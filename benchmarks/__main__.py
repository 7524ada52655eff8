"""`python -m benchmarks NAME [options]`; `all` runs one after the other."""

from __future__ import annotations

import importlib
import pkgutil
import sys
import time
import traceback
from typing import TYPE_CHECKING

import benchmarks

if TYPE_CHECKING:
    from types import ModuleType

_FOR_ALL = {"--json", "--quick"}


def known() -> dict[str, ModuleType]:
    """Return what can be measured, by name."""
    found = {}
    for module in pkgutil.iter_modules(benchmarks.__path__):
        if module.name != "__main__":
            loaded = importlib.import_module(f"benchmarks.{module.name}")
            if hasattr(loaded, "run"):
                found[module.name] = loaded
    return found


def _takes_s(measures: ModuleType, options: list[str]) -> int:
    """Return about how long it takes on an idle machine with two cores, in seconds."""
    usual_s, quick_s = measures.TAKES_S
    return int(quick_s if "--quick" in options else usual_s)


def _usage(every: dict[str, ModuleType]) -> str:
    lines = [
        f"  {name:12} {_takes_s(one, []):4} s {_takes_s(one, ['--quick']):4} s   "
        f"{(one.__doc__ or '').partition(chr(10))[0]}"
        for name, one in every.items()
    ]
    whole, quick = (
        sum(_takes_s(one, options) for one in every.values()) for options in ([], ["--quick"])
    )
    meanings = "\n".join(lines)
    return f"""\
usage: python -m benchmarks NAME [--help] [--quick] [--json] [options]
       python -m benchmarks all [--quick] [--json]

Each prints a table and one last line of JSON (--json: only that); --quick is a look at it. It
starts what it needs, or uses the Kafka and Redis of KAFKA_BOOTSTRAP and REDIS_URL, and leaves
nothing behind. NAME --help tells what is measured, against what, and with which options.

About how long each takes on an idle machine with two cores, and with --quick:

{meanings}
  all          {whole:4} s {quick:4} s   one after the other; goes on if one fails, and then ends \
with status 1
"""


def _all(every: dict[str, ModuleType], options: list[str]) -> int:
    minutes = sum(_takes_s(one, options) for one in every.values()) / 60
    _tell(f"{len(every)} benchmarks: about {minutes:.0f} minutes on an idle machine", options)
    failed = []
    for number, (name, one) in enumerate(every.items(), 1):
        about = f"{number} of {len(every)}, about {_takes_s(one, options)} s"
        _tell(f"\n== {name} ({about})", options)
        begin_s = time.monotonic()
        try:
            one.run(options)
        except Exception:  # noqa: BLE001 - the others are measured all the same
            traceback.print_exc()
            failed.append(name)
        _tell(f"== {name} took {time.monotonic() - begin_s:.0f} s", options)
    if failed:
        _tell(f"\nfailed: {', '.join(failed)}", options)
    return 1 if failed else 0


def _tell(line: str, options: list[str]) -> None:
    print(line, file=sys.stderr if "--json" in options else sys.stdout, flush=True)


def main(arguments: list[str]) -> int:
    """Read the command line; return the exit status."""
    every = known()
    name, options = arguments[:1], arguments[1:]
    if name == ["all"] and set(options) <= _FOR_ALL:
        return _all(every, options)
    if not name or name[0] not in every:
        print(_usage(every))
        return 0 if name and name[0] in {"-h", "--help"} else 2
    every[name[0]].run(options)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
