"""Starting a Kafka: what its tools are told."""

from __future__ import annotations

import subprocess
import uuid
from typing import TYPE_CHECKING

from deploy.local import kafka

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_a_cluster_id_may_begin_with_a_dash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One in 64 does; the tool would take a word of its own for an option."""
    commands: list[list[str]] = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(uuid, "uuid4", lambda: uuid.UUID(bytes=b"\xfb" * 16))
    monkeypatch.setattr(subprocess, "run", run)
    kafka.Kafka(tmp_path, tmp_path, 1, 2)._format()
    (command,) = commands
    assert "--cluster-id=-_v7-_v7-_v7-_v7-_v7-w" in command
