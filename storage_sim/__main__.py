"""`python -m storage_sim serve | hash-password`."""

from __future__ import annotations

import argparse
import getpass
import logging
import os
import sys

import uvloop

from schemas.errors import StorageEventsError
from schemas.settings import help_text
from storage_sim.settings import StorageSettings, from_env
from storage_sim.users import hash_password


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return the process's exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m storage_sim",
        description="A storage system that behaves, and bills.",
        epilog="settings, from the environment:\n" + help_text(StorageSettings),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("serve", help="serve WebDAV and REST, and publish to Kafka")
    commands.add_parser("hash-password", help="print what stands for a password in the users file")
    command = parser.parse_args(arguments).command
    logging.basicConfig(
        level=logging.INFO,
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    # aiokafka writes a line for each attempt; the publisher says it once
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    logging.getLogger("wsgidav").setLevel(logging.ERROR)
    try:
        if command == "hash-password":
            print(hash_password(_password()))
        else:
            _serve()
    except StorageEventsError as error:
        print(f"storage_sim: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"storage_sim: {error}", file=sys.stderr)
        return 1
    return 0


def _password() -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n")
    return getpass.getpass()


def _serve() -> None:
    from storage_sim.app import serve

    uvloop.run(serve(from_env(os.environ)))


if __name__ == "__main__":
    sys.exit(main())
