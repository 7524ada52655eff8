"""`python -m pipeline worker|topics|event-types|replay-tail`."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any, NoReturn

import uvloop

from pipeline import choice, settings
from pipeline.app import Worker, collect_seldom
from pipeline.event_types import registry
from pipeline.replay.redis_log import RedisReplayLog
from pipeline.replay.redis_script import connect
from schemas.errors import SettingsError, Unavailable
from schemas.logs import repeat_seldom
from schemas.settings import help_text

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from pipeline.settings import PipelineSettings

_LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"
_LET_GO_S = 6.0
"""How long a stop may take beyond the time for what was begun."""

_QUIET = ("faust", "mode", "aiokafka", "pipeline.transport")


async def work(chosen: PipelineSettings) -> None:
    """Run a worker until SIGTERM or SIGINT; it then ends in time, whatever Kafka does."""
    worker = Worker(chosen)

    def stop() -> None:
        worker.stop()
        # Faust and aiokafka can swallow a cancellation while a broker is away, and the loop's own
        # end waits for every task: no time limit inside the loop is certain.
        limit = threading.Timer(chosen.settle_s + _LET_GO_S, _leave)
        limit.daemon = True
        limit.start()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    collect_seldom()
    await worker.run()


def _leave() -> None:
    """End at once; nothing is lost: what is not committed is read again."""
    logging.getLogger("pipeline").warning("Kafka does not let go in time; the process ends")
    logging.shutdown()
    os._exit(0)


async def make_topics(chosen: PipelineSettings) -> None:
    """Create the topics that are missing, and list all that the pipeline uses."""
    for topic in await choice.make_topics(chosen):
        kept_h = topic.retention_ms // 3_600_000
        print(f"{chosen.topic_prefix}{topic.name}\t{chosen.partitions} partitions\t{kept_h} h")


async def list_event_types(_chosen: PipelineSettings) -> None:
    """List what is derived."""
    for name, kind in registry.all().items():
        print(f"{name}\t{kind.topic.name}\t{kind.description}")


async def tail(chosen: PipelineSettings) -> None:
    """Show how far each replay log has come, as JSON lines."""
    redis = connect(chosen.redis, timeout_s=chosen.redis_timeout_s)
    try:
        for kind in choice.chosen_event_types(chosen.event_types):
            log = RedisReplayLog(
                redis,
                prefix=chosen.redis_prefix,
                event_type=kind.name,
                max_age_s=chosen.replay_max_age_s,
                max_bytes=chosen.replay_max_bytes,
            )
            state = await log.state()
            print(
                json.dumps(
                    {
                        "event_type": kind.name,
                        "marks": dict(state.marks),
                        "floors": dict(state.floors),
                        "offsets": dict(state.offsets),
                    }
                )
            )
    finally:
        await redis.aclose()


_COMMANDS = {
    "worker": (work, "derive and keep until SIGTERM"),
    "topics": (make_topics, "create missing topics and list them"),
    "event-types": (list_event_types, "list the event types that are derived"),
    "replay-tail": (tail, "show how far the replay logs have come"),
}


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Read the command line, do it, and end the process with 0, or 1 for a bug, 2 for settings."""
    commands = "\n".join(f"  {name:12} {meaning}" for name, (_, meaning) in _COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="python -m pipeline",
        description="The derivation: billing to event types, on Kafka and in the replay log.\n\n"
        + commands,
        epilog="Settings, from the environment:\n\n" + help_text(settings.PipelineSettings),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=_COMMANDS)
    command, _ = _COMMANDS[parser.parse_args(arguments).command]
    status = _run(command)
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    # Faust's threads may wait for a broker that is away; they must not keep the process alive.
    os._exit(status)


def _run(command: Callable[[PipelineSettings], Coroutine[Any, Any, None]]) -> int:
    status = 0
    try:
        chosen = settings.from_env(os.environ)
        logging.basicConfig(level=chosen.log_level, format=_LOG_FORMAT)
        if chosen.log_level != "DEBUG":
            for name in _QUIET:
                logging.getLogger(name).setLevel(logging.WARNING)
            repeat_seldom(*_QUIET)
        # Faust makes loops of its own for its threads: by the policy, not by the runner's factory.
        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
        asyncio.run(command(chosen))
    except* (SettingsError, Unavailable) as group:
        for error in group.exceptions:
            print(f"error: {error}", file=sys.stderr)
        status = 2
    except* Exception:
        logging.getLogger("pipeline").exception("A bug; the process ends")
        status = 1
    return status


if __name__ == "__main__":
    main()
