"""`python -m benchmarks NAME [options]`; `all` runs one after the other."""

from __future__ import annotations

import importlib
import pkgutil
import sys
import traceback

import benchmarks

_FOR_ALL: list[list[str]] = [[], ["--json"]]


def names() -> dict[str, str]:
    """Return what can be measured, each with the first line of its module's docstring."""
    found = {}
    for module in pkgutil.iter_modules(benchmarks.__path__):
        if module.name != "__main__":
            loaded = importlib.import_module(f"benchmarks.{module.name}")
            if hasattr(loaded, "run"):
                found[module.name] = (loaded.__doc__ or "").partition("\n")[0]
    return found


def _usage(known: dict[str, str]) -> str:
    meanings = "\n".join(f"  {name:12} {meaning}" for name, meaning in known.items())
    return f"""\
usage: python -m benchmarks NAME [--help] [--json] [options]
       python -m benchmarks all [--json]

Each prints a table and one last line of JSON (--json: only that), and takes less than two minutes
on an idle machine unless more is asked of it. It starts what it needs, or uses the Kafka and Redis
of KAFKA_BOOTSTRAP and REDIS_URL, and leaves nothing behind. NAME --help tells what is measured,
against what, and with which options.

{meanings}
  all          one after the other; goes on if one fails, and then ends with status 1
"""


def main(arguments: list[str]) -> int:
    """Read the command line; return the exit status."""
    known = names()
    name, options = arguments[:1], arguments[1:]
    if not name or name[0] not in {*known, "all"} or (name == ["all"] and options not in _FOR_ALL):
        print(_usage(known))
        return 0 if name and name[0] in {"-h", "--help"} else 2
    if name != ["all"]:
        importlib.import_module(f"benchmarks.{name[0]}").run(options)
        return 0
    status = 0
    for each in known:
        if not options:
            print(f"\n== {each}")
        try:
            importlib.import_module(f"benchmarks.{each}").run(options)
        except Exception:  # noqa: BLE001 - the others are measured all the same
            traceback.print_exc()
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
