"""The schema registry's read calls, as Confluent's clients make them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from starlette.applications import Starlette

from api import endpoints
from api.routes import schema_registry
from pipeline.event_types import registry as event_types
from schemas import registry, topics

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from schemas.topics import Topic

BASE = "/schema-registry"


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    """Give a client of the endpoints."""
    app = Starlette(routes=list(endpoints.routes(schema_registry.ENDPOINTS)))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://h") as one:
        yield one


TOPICS = [topics.BILLING, topics.DEAD_LETTER, *(one.topic for one in event_types.all().values())]


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.name)
async def test_every_schema_is_found_by_id_and_by_subject(
    client: httpx.AsyncClient, topic: Topic
) -> None:
    """A topic's subject is its name and `-value`; the newest is `latest`."""
    subject = f"{topic.name}-value"
    numbers = registry.ids()[topic.schema]
    by_id = (await client.get(f"{BASE}/schemas/ids/{numbers[-1]}?subject={subject}")).json()
    assert json.loads(by_id["schema"])["type"] == "record"
    versions = (await client.get(f"{BASE}/subjects/{subject}/versions")).json()
    assert versions == list(range(1, len(numbers) + 1))
    latest = (await client.get(f"{BASE}/subjects/{subject}/versions/latest")).json()
    assert latest == {
        "subject": subject, "version": versions[-1], "id": numbers[-1], "schema": by_id["schema"]
    }  # fmt: skip
    found = await client.post(
        f"{BASE}/subjects/{subject}?normalize=False",
        json={"schema": by_id["schema"], "schemaType": "AVRO", "references": []},
    )
    assert found.json() == latest
    used = (await client.get(f"{BASE}/schemas/ids/{numbers[-1]}/versions")).json()
    assert used == [{"subject": subject, "version": versions[-1]}]


async def test_the_subjects_are_listed(client: httpx.AsyncClient) -> None:
    """All of them, in the registry's own content type."""
    answer = await client.get(f"{BASE}/subjects")
    assert answer.json() == sorted(f"{topic.name}-value" for topic in TOPICS)
    assert answer.headers["content-type"] == "application/vnd.schemaregistry.v1+json"


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/schemas/ids/999999", 40403),
        ("/schemas/ids/999999/versions", 40403),
        ("/subjects/nope-value/versions", 40401),
        ("/subjects/billing/versions", 40401),
        ("/subjects/nope-value/versions/1", 40401),
        ("/subjects/billing-value/versions/99", 40402),
        ("/subjects/billing-value/versions/0", 40402),
        ("/subjects/billing-value/versions/x", 40402),
        ("/associations/resources/-/billing", 40401),
    ],
)
async def test_what_is_not_there_is_said_in_the_registrys_words(
    client: httpx.AsyncClient, path: str, code: int
) -> None:
    """404 with Confluent's error codes."""
    answer = await client.get(BASE + path)
    assert (answer.status_code, answer.json()["error_code"]) == (404, code)


@pytest.mark.parametrize(
    ("body", "status"),
    [({"schema": '"string"'}, 404), ({"schema": "{"}, 422), ({"schema": 1}, 404), ([], 404)],
)
async def test_a_schema_that_is_none_of_ours(
    client: httpx.AsyncClient, body: Any, status: int
) -> None:
    """Is not found, or is no schema."""
    answer = await client.post(f"{BASE}/subjects/billing-value", json=body)
    assert answer.status_code == status


async def test_how_schemas_may_evolve(client: httpx.AsyncClient) -> None:
    """Both ways; and only reading."""
    assert (await client.get(f"{BASE}/config")).json() == {"compatibilityLevel": "FULL"}
    assert (await client.get(f"{BASE}/mode")).json() == {"mode": "READONLY"}
