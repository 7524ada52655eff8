"""`make demo-telescope`: a night at the telescope, its files moved and processed by their events.

Storage A (the mountain) → replicated to B (the facility) → processed there → what was derived
replicated to A → the raw file at A freed. Nobody starts it; each step follows from an event.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import shutil
import sys
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx

from deploy.local import night, sky, stack
from deploy.local.demonstrators import password
from deploy.local.morning import Morning, exposure_name
from deploy.local.night import Night
from deploy.local.observatory import Observatory
from deploy.local.processes import StartError
from schemas.errors import SettingsError
from schemas.settings import from_env, help_text, setting

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from deploy.local.processes import Process

_BAR = 30
_LOOK_S = 0.25
_LINE_S = 5.0
_SHOWN = 10
_UPLOAD_AGAIN_S = 0.2
_BETWEEN_KILLS_S = (0.2, 2.0)
_MOSTLY = 0.8


@dataclass(frozen=True)
class TelescopeSettings:
    """What `make demo-telescope` can be told."""

    host: str = setting("STORAGE_EVENTS_HOST", "127.0.0.1", "Address that everything listens on.")
    webdav_port: int = setting("WEBDAV_PORT", 2880, "The mountain's door; the facility's: +10.")
    rest_port: int = setting("REST_PORT", 3881, "The mountain's REST; the facility's: +10.")
    kafka_port: int = setting("KAFKA_PORT", 9092, "Port of the Kafka that is started (and +1).")
    health_port: int = setting("WORKER_HEALTH_PORT", 6066, "Port of the worker's health.")
    kafka_bootstrap: str = setting(
        "KAFKA_BOOTSTRAP", "", "A Kafka to use, as host:port; empty: one is started."
    )
    run: str = setting("RUN_DIR", ".run", "Directory of data, logs and the previews.")
    once: bool = setting("ONCE", default=False, meaning="It ends by itself.")
    exposures: int = setting("EXPOSURES", 200, "How many files are observed.")
    kill: bool = setting(
        "KILL", default=False, meaning="Meanwhile, kill -9 one process after the other."
    )
    longest_s: float = setting("NIGHT_S", 900.0, "The night is over after so long, in seconds.")


class Telescope:
    """The demo.

    Args:
        settings: ports and numbers.
        chance: decides who is killed when.
    """

    def __init__(self, settings: TelescopeSettings, chance: random.Random) -> None:
        self._settings = settings
        self._chance = chance
        self.run = (stack.ROOT / settings.run / "telescope").absolute()
        self._over = threading.Event()
        self.night = Night()
        self._names = [exposure_name(number) for number in range(1, settings.exposures + 1)]
        self.observatory = Observatory(
            self.run,
            webdav_port=settings.webdav_port,
            rest_port=settings.rest_port,
            kafka_port=settings.kafka_port,
            health_port=settings.health_port,
            kafka_bootstrap=settings.kafka_bootstrap,
            host=settings.host,
        )

    def tell(self) -> bool:
        """Play it; return whether all of it held."""
        stack.down(self.run, _say)
        shutil.rmtree(self.run, ignore_errors=True)
        self.observatory.up(_say)
        with self._watching():
            begin_s = time.time()
            exposing = threading.Thread(target=self._expose, daemon=True)
            exposing.start()
            if self._settings.kill:
                self._kill_meanwhile()
            self._show_progress(begin_s)
            exposing.join()
        taken_s = self.night.ended_s - begin_s
        size = sum(file.stat().st_size for file in self._files.values())
        _say(
            f"{len(self._names)} exposures, {size / 1e6:.0f} MB, from the telescope to previews "
            f"on the mountain in {taken_s:.1f} s"
        )
        return self._claims()

    @property
    def _files(self) -> dict[str, Path]:
        return {name: self.run / "exposures" / f"{name}.fits" for name in self._names}

    def _expose(self) -> None:
        """Make exposure after exposure and store each on the mountain, whatever is away."""
        (self.run / "exposures").mkdir(parents=True, exist_ok=True)
        site, login = self.observatory.mountain, ("telescope", password("telescope"))
        with httpx.Client(base_url=site.webdav_url, auth=login, timeout=60) as client:
            for number, (name, file) in enumerate(self._files.items(), 1):
                sky.expose(file, number)
                while not self._over.is_set():
                    with contextlib.suppress(httpx.HTTPError):
                        if client.put(f"/raw/{name}.fits", content=file.read_bytes()).is_success:
                            break
                    self._over.wait(_UPLOAD_AGAIN_S)

    @contextlib.contextmanager
    def _watching(self) -> Iterator[None]:
        """Follow the events meanwhile, in a thread."""
        following = threading.Thread(
            target=lambda: asyncio.run(
                night.watch(
                    self.night,
                    bootstrap=self.observatory.bootstrap,
                    prefix=self.observatory.prefix,
                    stopped=self._over,
                )
            ),
            daemon=True,
        )
        following.start()
        try:
            yield
        finally:
            self._over.set()
            following.join()

    def _victims(self) -> list[Process]:
        kafka = [self.observatory.kafka.process] if self.observatory.kafka else []
        facility = self.observatory.facility.process
        return [*self.observatory.followers, facility, *kafka]

    def _kill_meanwhile(self) -> None:
        """Kill -9 one after the other, then any, until most is done: the rest is left in peace."""
        victims = self._victims()
        queue = self._chance.sample(victims, len(victims))
        until_s = time.time() + self._settings.longest_s / 2
        while queue or (not self._is_mostly_done() and time.time() < until_s):
            time.sleep(self._chance.uniform(*_BETWEEN_KILLS_S))
            victim = queue.pop() if queue else self._chance.choice(victims)
            victim.kill()
            print(f"{_short(self.night, len(self._names))}   kill -9 {victim.name}", flush=True)
            self.observatory.start()

    def _is_mostly_done(self) -> bool:
        return len(self.night.processed) >= _MOSTLY * len(self._names)

    def _show_progress(self, begin_s: float) -> None:
        count = len(self._names)
        live = sys.stdout.isatty()
        shown_s = 0.0
        while True:
            is_over = self.night.is_over(count)
            is_late = time.time() - begin_s > self._settings.longest_s
            if live or is_over or is_late or time.time() - shown_s > _LINE_S:
                lines = [_bar(*step) for step in self.night.steps(count)]
                if live and shown_s:
                    print(f"\x1b[{len(lines)}F", end="")
                print(
                    "\n".join(lines) if live or is_over else _short(self.night, count), flush=True
                )
                shown_s = time.time()
            if is_over or is_late or self._ended():
                return
            time.sleep(_LOOK_S)

    def _ended(self) -> bool:
        """Say which process has ended by itself, if one has."""
        gone = [process for process in self.observatory.followers if not process.running()]
        for process in gone:
            _say(f"{process.name} has ended; the end of {process.log}:\n{process.log_tail()}")
        return bool(gone)

    def _claims(self) -> bool:
        morning = Morning(self.observatory, self._files, self.run / "previews")
        claims = morning.claims()
        failed = [f"{name}: {reason}" for name, reason in self.night.failed.items()]
        claims.append(
            ("no function failed, and none had two outcomes", failed + self.night.twice())
        )
        for sentence, wrong in claims:
            print(f"  {'✗' if wrong else '✓'} {sentence}")
            for line in wrong[:_SHOWN]:
                print(f"      {line}")
        _say(f"the previews: {morning.page()}")
        return not any(wrong for _, wrong in claims)


def _bar(what: str, done: int, of: int) -> str:
    filled = _BAR * done // max(1, of)
    return f"  {'█' * filled}{'░' * (_BAR - filled)} {done:5}/{of:<5} {what}"


def _short(night: Night, count: int) -> str:
    return "  " + " → ".join(f"{done}/{of}" for _, done, of in night.steps(count))


def _say(line: str) -> None:
    print(f"· {line}", flush=True)


def _stay(telescope: Telescope) -> None:
    observatory = telescope.observatory
    print(
        f"\n  The mountain  {observatory.mountain.webdav_url}\n"
        f"  The facility  {observatory.facility.webdav_url}\n\n"
        f"  Observe one more:\n\n    curl -u telescope:{password('telescope')} -T some.fits "
        f"{observatory.mountain.webdav_url}/raw/\n\n  Ctrl-C ends it all."
    )
    threading.Event().wait()


def main() -> int:
    """Play the demo; errors are sentences."""
    if len(sys.argv) > 1:
        print(__doc__ + "\nEnvironment:\n" + help_text(TelescopeSettings))
        return 0
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    held = False
    telescope = None
    try:
        settings = from_env(TelescopeSettings, os.environ)
        telescope = Telescope(settings, random.Random())
        held = telescope.tell()
        if not settings.once:
            _stay(telescope)
    except (StartError, SettingsError) as error:
        print(f"✗ {error}", file=sys.stderr)
    except KeyboardInterrupt:
        print()
    finally:
        if telescope is not None:
            telescope.observatory.down(_say)
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
