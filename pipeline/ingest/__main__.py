"""`python -m pipeline.ingest agent|runner|check`."""

from __future__ import annotations

import sys

_USAGE = """usage: python -m pipeline.ingest COMMAND

  agent   read billing, publish a trigger for each upload that a rule is about
  runner  run the functions that triggers ask for, on this machine
  check   read the rules file and say what is in it

Settings, from the environment:
"""


def main(arguments: list[str]) -> int:
    """Run a command; return the exit status."""
    # Imported here: a function's child process imports this module, and nothing of the rest.
    from pipeline.ingest import commands
    from pipeline.ingest.settings import IngestSettings
    from schemas.settings import help_text

    known = {"agent": commands.agent, "runner": commands.runner, "check": commands.check}
    if arguments in (["-h"], ["--help"]):
        print(_USAGE + help_text(IngestSettings))
        return 0
    if len(arguments) != 1 or arguments[0] not in known:
        print(_USAGE.partition("\nSettings")[0], file=sys.stderr)
        return 2
    return known[arguments[0]]()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
