"""`python -m storage_sim serve | hash-password | workload`."""

from __future__ import annotations

import argparse
import getpass
import logging
import os
import sys

import uvloop

from schemas.errors import StorageEventsError
from schemas.settings import help_text
from storage_sim import workload, workload_client
from storage_sim.settings import StorageSettings, from_env
from storage_sim.users import hash_password


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return the process's exit status."""
    chosen = _parser().parse_args(arguments)
    logging.basicConfig(
        level=logging.INFO,
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    # aiokafka writes a line for each attempt; the publisher says it once
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    logging.getLogger("wsgidav").setLevel(logging.ERROR)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    commands = {"serve": _serve, "hash-password": _hash_password, "workload": _workload}
    try:
        return commands[chosen.command](chosen)
    except (StorageEventsError, OSError) as error:
        print(f"storage_sim: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m storage_sim",
        description="A storage system that behaves, and bills.",
        epilog="settings, from the environment:\n" + help_text(StorageSettings),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("serve", help="serve WebDAV and REST, and publish to Kafka")
    commands.add_parser("hash-password", help="print what stands for a password in the users file")
    work = commands.add_parser(
        "workload",
        help="do what users do, at a WebDAV door",
        description="Do what users do, at a WebDAV door; the password comes from the variable "
        "WORKLOAD_PASSWORD, or is asked for.",
    )
    work.add_argument("kind", choices=sorted(workload.KINDS))
    work.add_argument("--url", default="http://127.0.0.1:2880", help="the door (%(default)s)")
    work.add_argument("--user", default="alice", help="who does it (%(default)s)")
    work.add_argument("--below", default="/data/exp", help="in which directory (%(default)s)")
    work.add_argument("--count", type=int, default=1000, help="how much (%(default)s)")
    work.add_argument(
        "--rate", type=float, default=0.0, help="how many a second; 0: what it takes"
    )
    work.add_argument("--seed", type=int, default=1, help="which stream (%(default)s)")
    return parser


def _hash_password(_chosen: argparse.Namespace) -> int:
    print(hash_password(_password()))
    return 0


def _password() -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n")
    return getpass.getpass()


def _workload(chosen: argparse.Namespace) -> int:
    refused = workload_client.run(
        workload.KINDS[chosen.kind](chosen.below.rstrip("/"), chosen.seed),
        url=chosen.url,
        user=chosen.user,
        password=os.environ.get("WORKLOAD_PASSWORD") or _password(),
        count=chosen.count,
        rate_per_s=chosen.rate,
    )
    print(f"{chosen.count} operations, {refused} refused")
    return 1 if refused else 0


def _serve(_chosen: argparse.Namespace) -> int:
    from storage_sim.app import serve

    uvloop.run(serve(from_env(os.environ)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
