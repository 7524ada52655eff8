"""`python -m pipeline.ingest agent|runner|check|dead|retry`."""

from __future__ import annotations

import sys

_USAGE = """usage: python -m pipeline.ingest COMMAND

  agent           read billing, publish a trigger for each upload that a rule is about
  runner          run the functions that triggers ask for, on this machine
  check           read the rules file and say what is in it
  dead            say what this machine's runner has given up, and why
  retry ID...|all run again what it has given up, by the rules as they are now

Settings, from the environment:
"""


def main(arguments: list[str]) -> int:
    """Run a command; return the exit status."""
    # Imported here: a function's child process imports this module, and nothing of the rest.
    from pipeline.ingest import commands
    from pipeline.ingest.settings import IngestSettings
    from schemas.settings import help_text

    if {"-h", "--help"} & set(arguments):
        print(_USAGE + help_text(IngestSettings))
        return 0
    name, *more = arguments or [""]
    if name not in commands.COMMANDS or (name == "retry") != bool(more):
        print(_USAGE.partition("\nSettings")[0], file=sys.stderr)
        return 2
    return commands.run(name, more)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
