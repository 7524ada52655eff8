"""Apache Kafka without Docker: one KRaft node from the jars that `deploy/kafka/pom.xml` names."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import hashlib
import shutil
import socket
import struct
import subprocess
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.local.processes import Process, StartError, require_free

if TYPE_CHECKING:
    from collections.abc import Callable

POM = Path(__file__).parents[1] / "kafka" / "pom.xml"
_READY_S = 120.0
_FETCH_S = 600.0
_METADATA, _METADATA_VERSION = 3, 1
_JVM = ("-Xms256m", "-Xmx512m", "-XX:+UseSerialGC")
_LOG = "-Dorg.slf4j.simpleLogger."
_LOGGING = (
    f"{_LOG}defaultLogLevel=warn",
    f"{_LOG}showDateTime=true",
    f"{_LOG}dateTimeFormat=yyyy-MM-dd HH:mm:ss.SSS",
)


def _quiet(_line: str) -> None:
    """Say nothing."""


def fetch_jars(libs: Path, *, say: Callable[[str], None] = _quiet) -> Path:
    """Return the directory of Kafka's jars, fetched by Maven when it is not there or out of date.

    Args:
        libs: the directory; it is replaced when `pom.xml` has changed.
        say: told what takes time.

    Raises:
        StartError: no Java, no Maven, or Maven failed.
    """
    wanted = hashlib.sha256(POM.read_bytes()).hexdigest()
    stamp = libs / ".pom"
    if shutil.which("java") is None:
        raise StartError("no java: install a Java 17 runtime, or set KAFKA_BOOTSTRAP")
    libs.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (libs.parent / f"{libs.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if stamp.exists() and stamp.read_text() == wanted:
            return libs
        if shutil.which("mvn") is None:
            raise StartError("no mvn: install Maven (it fetches Kafka), or set KAFKA_BOOTSTRAP")
        say("fetching Apache Kafka by Maven (once, about 54 MB)")
        shutil.rmtree(libs, ignore_errors=True)
        command = ["mvn", "-q", "-B", "-f", str(POM), "dependency:copy-dependencies"]
        done = subprocess.run(
            [*command, f"-DoutputDirectory={libs}"],
            capture_output=True,
            text=True,
            timeout=_FETCH_S,
            check=False,
        )
        if done.returncode != 0:
            raise StartError(
                f"Maven could not fetch Kafka:\n{(done.stdout + done.stderr)[-2000:]}"
            )
        stamp.write_text(wanted)
    return libs


def answers(host: str, port: int) -> bool:
    """Whether a broker there answers a metadata request and counts itself as alive."""
    client = b"storage-events"
    body = struct.pack(f">hhih{len(client)}si", _METADATA, _METADATA_VERSION, 1, 14, client, 0)
    with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=2.0) as link:
        link.sendall(struct.pack(">i", len(body)) + body)
        with link.makefile("rb") as answer:
            header = answer.read(12)  # size, correlation id, number of brokers
        return len(header) == 12 and struct.unpack(">iii", header)[2] > 0
    return False


@dataclass
class Kafka:
    """A Kafka node of our own, for one machine.

    Attributes:
        run: where its data, settings, pid file and log are.
        libs: where its jars are, from `fetch_jars`.
        port: where clients connect.
        controller_port: used by the node itself.
        host: the address it listens on.
        variable: named when the port is taken.
    """

    run: Path
    libs: Path
    port: int
    controller_port: int
    host: str = "127.0.0.1"
    variable: str = "KAFKA_PORT"

    def __post_init__(self) -> None:
        """Say how it is run."""
        properties = str(self._properties)
        self.process = Process("kafka", self._java(*_LOGGING, "kafka.Kafka", properties), self.run)

    @property
    def bootstrap(self) -> str:
        """What clients connect to."""
        return f"{self.host}:{self.port}"

    @property
    def _properties(self) -> Path:
        return self.run / "kafka.properties"

    def _java(self, *arguments: str) -> list[str]:
        return ["java", *_JVM, "-cp", f"{self.libs}/*", *arguments]

    def _write_properties(self) -> None:
        here, controller = self.bootstrap, f"{self.host}:{self.controller_port}"
        settings = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@{controller}",
            "controller.listener.names": "CONTROLLER",
            "listeners": f"PLAINTEXT://{here},CONTROLLER://{controller}",
            "advertised.listeners": f"PLAINTEXT://{here}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "log.dirs": str(self.run / "kafka-data"),
            "auto.create.topics.enable": "false",
            # After kill -9 the controller waits this long before it lets the broker in again.
            "broker.session.timeout.ms": "3000",
            "broker.heartbeat.interval.ms": "500",
            "group.initial.rebalance.delay.ms": "0",
            "group.min.session.timeout.ms": "1000",
            "offsets.topic.num.partitions": "4",
            "offsets.topic.replication.factor": "1",
            "transaction.state.log.num.partitions": "4",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "share.coordinator.state.topic.replication.factor": "1",
            "share.coordinator.state.topic.min.isr": "1",
        }
        self.run.mkdir(parents=True, exist_ok=True, mode=0o700)
        text = "".join(f"{name}={value}\n" for name, value in settings.items())
        self._properties.write_text(text)

    def _format(self) -> None:
        if (self.run / "kafka-data" / "meta.properties").exists():
            return
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        tool = self._java("-XX:TieredStopAtLevel=1", "kafka.tools.StorageTool", "format")
        # In one word: one id in 64 begins with a dash and would be taken for an option.
        command = [*tool, f"--cluster-id={cluster}", "-c", str(self._properties)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise StartError(f"Kafka's storage could not be formatted:\n{done.stderr[-2000:]}")

    def launch(self) -> None:
        """Start it, unless it runs, without waiting.

        Raises:
            PortTakenError: somebody else has one of its ports.
            StartError: its data directory cannot be made.
        """
        if self.process.current():
            return
        self.process.stop()
        for port in (self.port, self.controller_port):
            require_free(self.host, port, what="Kafka", variable=self.variable)
        self._write_properties()
        self._format()
        self.process.start()

    def wait_ready(self) -> None:
        """Wait until it answers.

        Raises:
            StartError: it ended or does not answer in time; with the log's last lines.
        """
        self.process.wait_ready(self._missing, timeout_s=_READY_S)

    def _missing(self) -> str:
        return "" if answers(self.host, self.port) else "no broker answers"

    def start(self) -> None:
        """Start it, unless it runs, and wait until it answers."""
        self.launch()
        self.wait_ready()

    def stop(self) -> None:
        """Ask it to end and wait."""
        self.process.stop()

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.kill()
