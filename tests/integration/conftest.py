"""A site of the API whose limits are low enough to be reached."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest

from tests import services
from tests.api_site import ApiSite
from tests.wire import call

if TYPE_CHECKING:
    from collections.abc import Iterator

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
