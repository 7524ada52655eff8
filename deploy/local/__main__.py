"""`python -m deploy.local up|down|status|demo`: what `make` calls."""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
import threading

from deploy.local import stack
from deploy.local.demo import Demo
from deploy.local.processes import StartError
from deploy.local.settings import StackSettings, from_env
from deploy.local.stack import Stack
from schemas import settings
from schemas.errors import SettingsError

_INTERRUPTED = 130


def _say(line: str) -> None:
    print(f"· {line}", flush=True)


def _up(chosen: StackSettings) -> int:
    local = Stack(chosen)
    local.up(_say)
    print(
        f"\n  API      {'  '.join(local.api_urls)}\n"
        f"  WebDAV   {local.webdav_url}\n"
        f"  REST     {local.rest_url}\n"
        f"  users    {', '.join(f'{user}:{stack.password(user)}' for user in stack.USERS)}\n\n"
        f"  all of it as KEY=value: {local.run / 'env'}; logs beside it; stop: make down"
    )
    return 0


def _down(chosen: StackSettings) -> int:
    stack.down((stack.ROOT / chosen.run).absolute(), _say)
    return 0


def _status(chosen: StackSettings) -> int:
    run = (stack.ROOT / chosen.run).absolute()
    nodes, workers = (len(list(run.glob(f"{kind}-*.pid"))) for kind in ("api", "worker"))
    lines = Stack(dataclasses.replace(chosen, nodes=nodes or 1, workers=workers or 1)).status()
    for name, state in lines:
        print(f"{name:12} {state}")
    return 0 if all(state in {"ready", "running"} for _, state in lines) else 1


def _demo(chosen: StackSettings) -> int:
    local = Stack(chosen)
    was_up = all(state in {"ready", "running"} for _, state in local.status())
    held = False
    try:
        local.up(_say)
        held = Demo(local).tell()
        if not chosen.once:
            _stay(local)
    except KeyboardInterrupt:
        print()
    finally:
        if not was_up:
            _down(chosen)
    return 0 if held else 1


def _stay(local: Stack) -> None:
    """Leave it to the reader, until Ctrl-C."""
    stream = f"{local.api_urls[0]}/api/v1/events/stream?watch=/data/exp"
    alice = f"-u alice:{stack.password('alice')}"
    print(
        f"\n  Now you. In one terminal:\n\n    curl -N {alice} '{stream}'\n\n"
        f"  and in another:\n\n    curl {alice} -T README.md {local.webdav_url}/data/exp/\n\n"
        f"  or open {local.api_urls[0]}/ in a browser. Ctrl-C ends it all."
    )
    threading.Event().wait()


def main() -> int:
    """Run one command; errors are sentences, not tracebacks."""
    commands = {"up": _up, "down": _down, "status": _status, "demo": _demo}
    parser = argparse.ArgumentParser(
        prog="python -m deploy.local",
        description="The whole stack as processes on this machine.",
        epilog=f"Settings, from the environment:\n\n{settings.help_text(StackSettings)}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=commands)
    command = parser.parse_args().command
    try:
        return commands[command](from_env(os.environ))
    except (StartError, SettingsError) as error:
        print(f"✗ {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\n✗ interrupted; make down ends what was started", file=sys.stderr)
        return _INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
