"""The served OpenAPI description, held against the running API by schemathesis."""

from __future__ import annotations

import subprocess
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from tests import services
from tests.api_site import ApiSite

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.stack

ELSEWHERE = "^/api/v1/(user|tape|bulk-requests|namespace)|^/.well-known"
"""What is passed on: the storage's own to describe."""


@pytest.fixture(scope="module")
def site(kafka_bootstrap: str, redis_url: str) -> Iterator[ApiSite]:
    """Give an API node that lets itself be asked very often, with wrong passwords too."""
    with services.run_directory("described") as run:
        started = ApiSite(
            run,
            kafka_bootstrap,
            redis_url,
            prefix=f"described-{uuid.uuid4().hex[:8]}-",
            settings={
                "STORAGE_EVENTS_API_REQUESTS_PER_USER_S": "0",
                "STORAGE_EVENTS_API_REQUESTS_PER_ADDRESS_S": "0",
                "STORAGE_EVENTS_API_CHANNELS_PER_USER": "10000",
            },
        )
        try:
            started.up()
            yield started
        finally:
            started.down()


def test_what_is_described_is_what_is_answered(site: ApiSite) -> None:
    """No status, type or body that the description does not have, and no 500, whatever is sent.

    Wrong credentials may be answered 429, as guessing is slowed down; so that check is left out.
    """
    command = [
        str(Path(sys.executable).parent / "schemathesis"), "run", f"{site.urls[0]}/openapi.json",
        "--url", site.urls[0], "--auth", "carol:carol-demo", "--seed", "1", "-n", "15",
        "--exclude-path", "/api/v1/events/stream", "--exclude-path-regex", ELSEWHERE,
        "--exclude-checks", "ignored_auth", "--phases", "examples,coverage,fuzzing",
        "--request-timeout", "10", "--no-color",
    ]  # fmt: skip
    ran = subprocess.run(
        command, capture_output=True, text=True, timeout=280, check=False, cwd=site.folder
    )
    assert ran.returncode == 0, ran.stdout[-6000:] + ran.stderr[-2000:]
    assert "ERROR storage_events" not in site.log()
    assert "Traceback" not in site.log()


def test_the_event_stream_is_described_too(site: ApiSite) -> None:
    """AsyncAPI, served beside it."""
    description = httpx.get(f"{site.urls[0]}/asyncapi.json").json()
    assert description["asyncapi"] == "3.0.0"
    assert {"stream", "inotify", "billing"} <= set(description["channels"])
