"""`python -m benchmarks NAME [options]`; `all` runs one after the other."""

from __future__ import annotations

import importlib
import pkgutil
import sys

import benchmarks


def names() -> dict[str, str]:
    """Return what can be measured, each with the first line of its module's docstring."""
    found = {}
    for module in pkgutil.iter_modules(benchmarks.__path__):
        if module.name != "__main__":
            loaded = importlib.import_module(f"benchmarks.{module.name}")
            if hasattr(loaded, "run"):
                found[module.name] = (loaded.__doc__ or "").partition("\n")[0]
    return found


def main(arguments: list[str]) -> int:
    """Read the command line; return the exit status."""
    known = names()
    if not arguments or arguments[0] not in {*known, "all"}:
        print("usage: python -m benchmarks NAME [--help] [--json] [options]\n")
        for name, meaning in known.items():
            print(f"  {name:12} {meaning}")
        print("  all          one after the other")
        return 0 if arguments and arguments[0] in {"-h", "--help"} else 2
    chosen = list(known) if arguments[0] == "all" else arguments[:1]
    for name in chosen:
        if len(chosen) > 1:
            print(f"\n== {name}")
        importlib.import_module(f"benchmarks.{name}").run(arguments[1:])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
