"""Background processes: started once, stopped only if they are ours, explained when they fail."""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from deploy.local.processes import (
    PortTakenError,
    Process,
    StartError,
    free_ports,
    require_free,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

SLEEPS = "import time; time.sleep(600)"
IGNORES_SIGTERM = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    "print('deaf', flush=True); time.sleep(600)"
)


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Process]:
    """Give a process that only sleeps."""
    made = Process("sleeper", [sys.executable, "-c", SLEEPS], tmp_path)
    yield made
    made.kill()


def test_it_is_started_once(process: Process) -> None:
    """A second start leaves it alone; another object finds it by the pid file."""
    process.start()
    pid = process.pid
    process.start()
    again = Process("sleeper", process.command, process.run)
    again.start()
    assert pid == process.pid == again.pid


def test_other_settings_restart_it(process: Process) -> None:
    """What runs with other settings than wanted is replaced."""
    process.start()
    pid = process.pid
    process.environ = {"COLOUR": "blue"}
    assert not process.current()
    process.start()
    assert process.running()
    assert process.pid != pid


def test_the_pid_file_keeps_no_secret(process: Process) -> None:
    """Settings may be secret; the pid file tells only whether they are the same."""
    process.environ = {"KEY": "very-secret-indeed"}
    process.start()
    assert "very-secret-indeed" not in process.pid_file.read_text()


def test_kill_and_start_again(process: Process) -> None:
    """kill -9, and it is gone; a start brings a new one."""
    process.start()
    first = process.pid
    process.kill()
    assert not process.running()
    assert not process.pid_file.exists()
    process.start()
    assert process.pid != first


def test_a_deaf_process_is_killed(process: Process) -> None:
    """One that ignores SIGTERM is killed after the time-out, and that is told."""
    process.command = [sys.executable, "-c", IGNORES_SIGTERM]
    process.start()
    process.wait_ready(lambda: "" if "deaf" in process.log_tail() else "not yet", timeout_s=20)
    assert process.stop(timeout_s=0.2) is False
    assert not process.running()


def test_a_reused_pid_is_left_alone(process: Process) -> None:
    """After a reboot the pid may be somebody else's: here, this test's own."""
    process.pid_file.write_text(json.dumps({"pid": os.getpid(), "started_s": 1.0, "as": ""}))
    assert not process.running()
    process.stop()


def test_an_end_at_start_shows_the_log(tmp_path: Path) -> None:
    """The message has the log's last lines."""
    fails = Process("failing", [sys.executable, "-c", "raise SystemExit('no disk')"], tmp_path)
    fails.start()
    with pytest.raises(StartError, match=r"failing ended at its start: it waits(.|\n)*no disk"):
        fails.wait_ready(lambda: "it waits", timeout_s=20)


def test_a_late_one_is_named(process: Process) -> None:
    """One that runs but never gets ready: named, with what it misses."""
    process.start()
    with pytest.raises(StartError, match="sleeper is not ready after 0 s: no Kafka"):
        process.wait_ready(lambda: "no Kafka", timeout_s=0.1)


def test_a_taken_port_is_named_with_its_variable() -> None:
    """The message says which port, who wants it and what changes it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortTakenError, match=rf"API wants port {port}.*taken.*API_PORT="):
            require_free("127.0.0.1", port, what="API", variable="API_PORT")


def test_free_ports_are_free() -> None:
    """They differ from each other and from earlier ones, and no connection is given one."""
    ports = free_ports(5) + free_ports(5)
    assert len(set(ports)) == 10
    connections = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0]
    assert max(ports) < int(connections)
    for port in ports:
        require_free("127.0.0.1", port, what="test", variable="NONE")
