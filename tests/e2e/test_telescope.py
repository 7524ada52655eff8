"""The telescope's whole chain, with kill -9 of everything: the short form of 2,000 files."""

from __future__ import annotations

import os
import random
import subprocess
import sys

import pytest

from deploy.local import processes
from deploy.local.demonstrators import ROOT
from tests import services

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]


def test_a_night_with_everything_killed_leaves_nothing_wrong() -> None:
    """Files, previews, replicas, catalogue and listings agree; no function had two outcomes."""
    base = processes.free_range(32, random.Random())
    with services.run_directory("telescope") as run:
        played = subprocess.run(
            [sys.executable, "-m", "deploy.local.demo_telescope"],
            env={
                **{name: value for name, value in os.environ.items() if name != "KAFKA_BOOTSTRAP"},
                "WEBDAV_PORT": str(base), "REST_PORT": str(base + 1),
                "WORKER_HEALTH_PORT": str(base + 2), "KAFKA_PORT": str(base + 6),
                "RUN_DIR": str(run), "ONCE": "1", "KILL": "1", "EXPOSURES": "20", "NIGHT_S": "600",
            },
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert played.returncode == 0, played.stdout[-5000:] + played.stderr[-5000:]
