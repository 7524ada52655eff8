"""The tutorial is true: its shell blocks run, in order, in one shell."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from deploy.local.stack import Stack

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(60)]

TUTORIAL = Path(__file__).parents[2] / "docs" / "tutorial" / "first-event.md"


def test_the_tutorial_runs_as_it_stands(stack: Stack, tmp_path: Path) -> None:
    """Each command succeeds, and what it shows holds."""
    blocks = re.findall(r"^```sh\n(.*?)^```", TUTORIAL.read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) > 5
    (tmp_path / ".run").symlink_to(stack.run)
    script = "set -eu\n" + "\n".join(blocks)
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
