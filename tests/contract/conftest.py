"""The site that the contract of the API is held against: one node, and three behind a front."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest

from tests import services
from tests.api_site import ApiSite, RoundRobin
from tests.wire import call

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def api_site(kafka_bootstrap: str, redis_url: str) -> Iterator[ApiSite]:
    """Give a storage, a worker and three API nodes."""
    with services.run_directory("api") as run:
        site = ApiSite(
            run,
            kafka_bootstrap,
            redis_url,
            nodes=3,
            prefix=f"api-{uuid.uuid4().hex[:8]}-",
            settings={
                "STORAGE_EVENTS_API_REQUESTS_PER_USER_S": "0",
                "STORAGE_EVENTS_API_REQUESTS_PER_ADDRESS_S": "0",
                "STORAGE_EVENTS_API_KEEP_ALIVE_S": "1",
            },
            storage="tests.lax_storage",
        )
        try:
            site.up()
            yield site
        finally:
            site.down()


@pytest.fixture(scope="session", params=["one node", "three nodes"])
def front(request: pytest.FixtureRequest, api_site: ApiSite) -> Iterator[str]:
    """Give the address that clients use."""
    if request.param == "one node":
        yield api_site.urls[0]
        return
    robin = RoundRobin(api_site.urls)
    try:
        yield robin.url
    finally:
        robin.close()


@pytest.fixture
def channel(front: str) -> Iterator[str]:
    """Give a channel of alice's, which is deleted afterwards."""
    url = call("POST", f"{front}/api/v1/events/channels").one("Location")
    yield url
    call("DELETE", url)


@pytest.fixture
def directory(api_site: ApiSite) -> str:
    """Give a new directory."""
    path = f"/data/exp/{uuid.uuid4().hex[:12]}"
    with api_site.webdav() as door:
        door.request("MKCOL", path).raise_for_status()
    return path
