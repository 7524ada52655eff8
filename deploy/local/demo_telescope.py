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
import signal
import sys
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx

from deploy.local import night, sky, stack
from deploy.local.demonstrators import password
from deploy.local.killing import Killer
from deploy.local.morning import Morning, exposure_name
from deploy.local.night import Night
from deploy.local.night_screen import Screen
from deploy.local.observatory import Observatory
from deploy.local.processes import StartError
from schemas.errors import SettingsError
from schemas.settings import BROKERS, from_env, help_text, setting

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from deploy.local.processes import Process

_LOOK_S = 0.25
_SHOWN = 10
_UPLOAD_AGAIN_S = 0.2
_MOSTLY = 0.8


@dataclass(frozen=True)
class TelescopeSettings:
    """What `make demo-telescope` can be told."""

    host: str = setting("STORAGE_EVENTS_HOST", "127.0.0.1", "Address that everything listens on.")
    webdav_port: int = setting("WEBDAV_PORT", 2880, "The mountain's door; the facility's: +10.")
    rest_port: int = setting("REST_PORT", 3881, "The mountain's REST; the facility's: +10.")
    kafka_port: int = setting("KAFKA_PORT", 9092, "Port of the Kafka that is started (and +1).")
    health_port: int = setting(
        "WORKER_HEALTH_PORT", 6066, "Port of the worker's health; ingest, replication: +1 to +3."
    )
    kafka_bootstrap: str = setting(
        "KAFKA_BOOTSTRAP", "", "A Kafka to use, as host:port; empty: one is started.", form=BROKERS
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
        if self.run.exists():
            stack.down(self.run, _say)
        shutil.rmtree(self.run, ignore_errors=True)
        self.observatory.up(_say)
        _say(f"{len(self._names)} exposures; each step follows from an event of the one before")
        screen = Screen(self.night, len(self._names))
        killer = Killer(
            self._victims(), start=self.observatory.start, chance=self._chance, say=screen.say
        )
        begin_s = time.time()
        with self._watching():
            working = [threading.Thread(target=self._expose, daemon=True)]
            if self._settings.kill:
                peace_s = begin_s + self._settings.longest_s / 2
                killing = (
                    lambda: self._is_mostly_done() or time.time() > peace_s,
                    self._over,
                )
                working.append(threading.Thread(target=killer.run, args=killing, daemon=True))
            for thread in working:
                thread.start()
            try:
                self._follow(screen, working, until_s=begin_s + self._settings.longest_s)
            finally:
                # Also after Ctrl-C: nobody may start anything while all of it is stopped.
                self._over.set()
                for thread in working:
                    thread.join()
        taken_s = self.night.ended_s - begin_s
        size = sum(file.stat().st_size for file in self._files.values() if file.exists())
        _say(
            f"{len(self._names)} exposures, {size / 1e6:.0f} MB, from the telescope to previews "
            f"on the mountain in {taken_s:.1f} s"
        )
        return self._claims(killer)

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

    def _is_mostly_done(self) -> bool:
        return len(self.night.processed) >= _MOSTLY * len(self._names)

    def _follow(
        self, screen: Screen, working: Sequence[threading.Thread], *, until_s: float
    ) -> None:
        """Show how far it is, until all is done, or the night is over, or a process has ended."""
        while time.time() < until_s:
            is_busy = any(thread.is_alive() for thread in working)
            if not is_busy and (self.night.is_over(len(self._names)) or self._ended()):
                break
            screen.show()
            time.sleep(_LOOK_S)
        screen.show(at_last=True)

    def _ended(self) -> bool:
        """Say which process has ended by itself, if one has."""
        gone = [process for process in self.observatory.followers if not process.running()]
        for process in gone:
            _say(f"{process.name} has ended; the end of {process.log}:\n{process.log_tail()}")
        return bool(gone)

    def _claims(self, killer: Killer) -> bool:
        _say("the morning: both storages are looked at, file by file")
        morning = Morning(self.observatory, self._files, self.run / "previews")
        claims = morning.claims()
        failed = [f"{name}: {reason}" for name, reason in self.night.failed.items()]
        claims.append(
            ("no function failed, and no exposure had two outcomes", failed + self.night.twice())
        )
        if self._settings.kill:
            claims.append((f"killed with kill -9: {killer.told()}", killer.spared()))
        claims.append(("every process is ready", self._not_ready()))
        for sentence, wrong in claims:
            print(f"  {'✗' if wrong else '✓'} {sentence}")
            for line in wrong[:_SHOWN]:
                print(f"      {line}")
        _say(f"the previews: {morning.page()}")
        return not any(wrong for _, wrong in claims)

    def _not_ready(self) -> list[str]:
        try:
            self.observatory.wait_ready()
        except StartError as error:
            return str(error).splitlines()
        return []


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
    # Whoever ends it, nothing is left running.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
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
