"""`python -m pipeline.replication COMMAND`: follows and replicates, or asks the catalogue."""

from __future__ import annotations

import os
import sys

_USAGE = """usage: python -m pipeline.replication COMMAND

  run                          follow the storages' events and replicate by the rules
  check                        read the rules file and say what is in it
  where PATH                   say where a file is
  missing [RULE]               say which copies are wanted and not there, and why
  since [SEQUENCE]             say what happened after a change, as JSON lines
  status                       say how much there is of everything
  dead                         say what was given up, and why
  retry ID...|all              queue again what was given up
  adopt                        go on with another Kafka than before, from its beginning
  reconcile STORAGE [DIR]      compare the catalogue with what the storage lists

Settings, from the environment:
"""


def main(arguments: list[str]) -> int:
    """Run a command; return the exit status."""
    from pipeline.replication import commands
    from pipeline.replication.settings import ReplicationSettings, from_env
    from schemas.errors import StorageEventsError, expected
    from schemas.settings import help_text

    if {"-h", "--help"} & set(arguments):
        print(_USAGE + help_text(ReplicationSettings))
        return 0
    command = commands.COMMANDS.get(arguments[0]) if arguments else None
    if command is None or not command.takes(len(arguments) - 1):
        print(_USAGE.partition("\nSettings")[0], file=sys.stderr)
        return 2
    try:
        return command.run(from_env(os.environ), *arguments[1:])
    except StorageEventsError as error:
        print(error, file=sys.stderr)
    except ExceptionGroup as group:
        print(expected(group), file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
