"""OpenAPI and AsyncAPI: made from the code, so they are true; this holds them well-formed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from api import asyncapi, openapi, route_table
from pipeline.event_types import registry
from schemas import topics
from tests.unit.api.test_edge import _limits

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def rest() -> dict[str, Any]:
    """Give the OpenAPI description."""
    return openapi.describe(route_table.ENDPOINTS, registry.offered(), "1")


@pytest.fixture(scope="module")
def events() -> dict[str, Any]:
    """Give the AsyncAPI description."""
    return asyncapi.describe(registry.offered(), "1")


def _references(value: Any) -> set[str]:
    if isinstance(value, dict):
        found = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
        return found.union(*(_references(one) for one in value.values()))
    if isinstance(value, list):
        return set().union(*(_references(one) for one in value))
    return set()


def _resolves(document: Any, reference: str) -> bool:
    for part in reference.removeprefix("#/").split("/"):
        if part not in document:
            return False
        document = document[part]
    return True


def test_each_endpoint_is_described_once(rest: dict[str, Any]) -> None:
    """Path, method, summary, answers; operation ids are unique."""
    described = {(method.upper(), path) for path, item in rest["paths"].items() for method in item}
    assert len(described) == len(route_table.ENDPOINTS)
    operations = [one for item in rest["paths"].values() for one in item.values()]
    assert len({one["operationId"] for one in operations}) == len(operations)
    assert all(one["summary"] and one["responses"] for one in operations)


def test_parameters_of_paths_are_declared(rest: dict[str, Any]) -> None:
    """Each name in braces, and no other."""
    for path, item in rest["paths"].items():
        for operation in item.values():
            declared = {
                one["name"] for one in operation.get("parameters", ()) if one["in"] == "path"
            }
            assert declared == set(re.findall(r"\{(\w+)\}", path))


def test_references_lead_somewhere(rest: dict[str, Any], events: dict[str, Any]) -> None:
    """In both documents."""
    for document in (rest, events):
        for reference in _references(document):
            if reference.startswith(("#/components", "#/channels")):
                assert _resolves(document, reference), reference


def test_schemas_are_schemas(rest: dict[str, Any]) -> None:
    """Of bodies, answers and event types."""
    for schema in rest["components"]["schemas"].values():
        jsonschema.Draft6Validator.check_schema(schema)
    for item in rest["paths"].values():
        for operation in item.values():
            for content in operation.get("requestBody", {}).get("content", {}).values():
                jsonschema.Draft202012Validator.check_schema(content["schema"])


def test_every_handler_says_that_it_asks_for_credentials(rest: dict[str, Any]) -> None:
    """Only what is public says so; the contract suite holds the rest to 401."""
    public = {
        path
        for path, item in rest["paths"].items()
        for operation in item.values()
        if operation.get("security") == []
    }
    assert {one for one in public if one.startswith("/api/v1/events")} == {"/api/v1/events"}


def test_each_event_type_and_topic_is_described(events: dict[str, Any]) -> None:
    """The stream with a message for each kind and SYSTEM; each topic with its Avro schema."""
    assert set(events["channels"]["stream"]["messages"]) == {*registry.offered(), "SYSTEM"}
    for topic in (
        topics.BILLING,
        topics.DEAD_LETTER,
        *(one.topic for one in registry.all().values()),
    ):
        channel = events["channels"][topic.name]
        assert channel["address"] == topic.name
        message = channel["messages"][topic.name]
        if topic.schema:
            assert message["payload"]["schema"]["type"] == "record"
    assert all(one["action"] == "send" for one in events["operations"].values())


def test_the_reference_page_has_each_endpoint_and_limit() -> None:
    """What is added to the table must be told."""
    page = (ROOT / "docs" / "reference" / "http-api.md").read_text()
    for endpoint in route_table.ENDPOINTS:
        path = re.sub(r"\{(\w+):\w+\}", r"{\1}", endpoint.path)
        assert f"`{path}`" in page, path
    for limit in (*_limits().table(), "requests-per-user", "requests-per-address"):
        assert f"`{limit}`" in page, limit
