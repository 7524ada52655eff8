"""The examples run as they stand."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from deploy.local import stack as local
from deploy.local.processes import wait_until

if TYPE_CHECKING:
    import httpx

    from deploy.local.stack import Stack

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize(
    "command", [[str(EXAMPLES / "watch.sh")], [sys.executable, str(EXAMPLES / "watch.py")]]
)
def test_an_example_watches_a_directory(
    command: list[str], stack: Stack, alice: httpx.Client, directory: str, tmp_path: Path
) -> None:
    """It prints what is uploaded while it runs."""
    login = f"alice:{local.password('alice')}"
    printed = tmp_path / "printed"
    with printed.open("wb") as output:
        example = subprocess.Popen(
            [*command, directory, login, stack.api_urls[0]], stdout=output, env=dict(os.environ)
        )
    uploads = iter(range(1000))

    def told() -> bool:
        """Upload until the example, which subscribes in its own time, tells of one."""
        alice.put(f"{directory}/file-{next(uploads)}", content=b"x").raise_for_status()
        return "IN_CLOSE_WRITE" in printed.read_text()

    try:
        assert wait_until(told, timeout_s=60)
    finally:
        example.kill()
        example.wait()
