"""A site of the API whose limits are low enough to be reached; a storage with open doors."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import httpx
import pytest

from tests import services
from tests.api_site import ApiSite
from tests.integration.storage_doors import Doors, basic, open_doors
from tests.wire import call

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

SMALL = {
    "STORAGE_EVENTS_API_CHANNELS_PER_USER": "20",
    "STORAGE_EVENTS_API_SUBSCRIPTIONS_PER_CHANNEL": "5",
    "STORAGE_EVENTS_API_CONNECTIONS_PER_USER": "4",
    "STORAGE_EVENTS_API_CONNECTIONS_PER_ADDRESS": "30",
    "STORAGE_EVENTS_API_PASSED_PER_USER": "3",
    "STORAGE_EVENTS_API_REQUESTS_PER_USER_S": "0",
    "STORAGE_EVENTS_API_REQUESTS_PER_ADDRESS_S": "0",
    "STORAGE_EVENTS_API_HEAD_TIMEOUT_S": "1.5",
    "STORAGE_EVENTS_API_BODY_TIMEOUT_S": "1.5",
    "STORAGE_EVENTS_API_HEAD_BYTES": "16384",
    "STORAGE_EVENTS_API_SELECTOR_BYTES": "8192",
    "STORAGE_EVENTS_API_ALLOWED_ORIGINS": "https://portal.example.org",
    "STORAGE_EVENTS_API_FREE_LOGIN_FAILURES": "3",
    "STORAGE_EVENTS_API_LOGIN_FAILURE_WAIT_S": "30",
}


@pytest.fixture(scope="session")
def small_site(kafka_bootstrap: str, redis_url: str) -> Iterator[ApiSite]:
    """Give a site with low limits."""
    with services.run_directory("small") as run:
        started = ApiSite(
            run,
            kafka_bootstrap,
            redis_url,
            prefix=f"small-{uuid.uuid4().hex[:8]}-",
            settings=SMALL,
        )
        try:
            started.up()
            yield started
        finally:
            started.down()


@pytest.fixture
def url(small_site: ApiSite) -> str:
    """Give the small site's node."""
    return small_site.urls[0]


@pytest.fixture
def channel(url: str) -> Iterator[str]:
    """Give a channel of alice's on the small site."""
    made = call("POST", f"{url}/api/v1/events/channels").one("Location")
    yield made
    call("DELETE", made)


@pytest.fixture
def others_are_served(small_site: ApiSite, url: str) -> Iterator[None]:
    """Look afterwards whether the node serves another user, and whether anything broke inside."""
    seen = len(small_site.log())
    yield
    assert call("GET", f"{url}/api/v1/events/eventTypes", "admin").status == 200
    assert "Traceback" not in small_site.log()[seen:]


@pytest.fixture
def doors(tmp_path: Path) -> Iterator[Doors]:
    """Give a storage with open doors."""
    with open_doors(tmp_path / "storage") as doors:
        yield doors


@pytest.fixture
def alice(doors: Doors) -> Iterator[httpx.Client]:
    """Give alice's client of the WebDAV door."""
    with httpx.Client(base_url=doors.url, headers=basic("alice")) as client:
        yield client


@pytest.fixture
def bob(doors: Doors) -> Iterator[httpx.Client]:
    """Give bob's client of the WebDAV door."""
    with httpx.Client(base_url=doors.url, headers=basic("bob")) as client:
        yield client


@pytest.fixture
async def rest(doors: Doors) -> AsyncIterator[httpx.AsyncClient]:
    """Give a client of the REST interface that is nobody yet."""
    transport = httpx.ASGITransport(doors.rest, client=("192.0.2.5", 1234))
    async with httpx.AsyncClient(transport=transport, base_url="http://storage") as client:
        yield client
