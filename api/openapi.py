"""The OpenAPI 3.1 description of the REST part, made from the route table and the event types."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from api.endpoints import Endpoint
    from pipeline.event_types.base import Subscribable

_PARAMETER: Final = re.compile(r"\{(\w+)(?::(\w+))?\}")
_ERROR: Final = {
    "type": "object",
    "description": "Both shapes that dCache's clients read; a limit that was reached is named.",
    "required": ["status", "title", "detail", "errors"],
    "properties": {
        "status": {"type": "string"},
        "title": {"type": "string"},
        "detail": {"type": "string"},
        "limit": {"type": "string"},
        "maximum": {"type": "number"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["message", "status"],
                "properties": {"message": {"type": "string"}, "status": {"type": "string"}},
            },
        },
    },
}
_BODY: Final = {
    400: "Not JSON, or not what is expected.",
    408: "The body took too long.",
    413: "The body is too long.",
    415: "The body is not JSON.",
}


def describe(
    endpoints: Iterable[Endpoint], event_types: Mapping[str, Subscribable], version: str
) -> dict[str, Any]:
    """Return the description.

    Args:
        endpoints: the route table.
        event_types: by name; their selector schemas become components.
        version: this software's.
    """
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        path = _PARAMETER.sub(r"{\1}", endpoint.path)
        paths.setdefault(path, {})[endpoint.method.lower()] = _operation(endpoint)
    schemas: dict[str, Any] = {"Error": _ERROR}
    for name, kind in event_types.items():
        schemas[f"{name}-selector"] = dict(kind.selector_schema)
        schemas[f"{name}-event"] = dict(kind.event_schema)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Storage events",
            "version": version,
            "description": "dCache's events API: channels, subscriptions, streams.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "basic": {"type": "http", "scheme": "basic"},
                "bearer": {"type": "http", "scheme": "bearer"},
                "authz": {"type": "apiKey", "in": "query", "name": "authz"},
            },
        },
        "security": [{"basic": []}, {"bearer": []}, {"authz": []}],
    }


def _answers(endpoint: Endpoint) -> dict[int, str]:
    """Return the endpoint's answers and those that every endpoint of its kind may give."""
    common = {429: "A limit is reached; `limit` names it.", 503: "A service is away; try later."}
    if not endpoint.is_public:
        common[400] = "More than one credential."
    if endpoint.body is not None:
        common |= _BODY
    return {**common, **endpoint.answers}


def _operation(endpoint: Endpoint) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": f"{endpoint.method.lower()} {endpoint.path}",
        "summary": endpoint.summary,
        "responses": {
            str(status): _response(endpoint, status, meaning)
            for status, meaning in sorted(_answers(endpoint).items())
        },
    }
    parameters = _parameters(endpoint)
    if parameters:
        operation["parameters"] = parameters
    if endpoint.body is not None:
        operation["requestBody"] = {
            "required": endpoint.body["type"] == "object",
            "content": {"application/json": {"schema": dict(endpoint.body)}},
        }
    if endpoint.is_public:
        operation["security"] = []
    return operation


def _parameters(endpoint: Endpoint) -> list[dict[str, Any]]:
    in_path: list[dict[str, Any]] = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "integer" if kind == "int" else "string"},
        }
        for name, kind in _PARAMETER.findall(endpoint.path)
    ]
    in_query: list[dict[str, Any]] = [
        {"name": name, "in": "query", "description": meaning, "schema": {"type": "string"}}
        for name, meaning in endpoint.query.items()
    ]
    return in_path + in_query


def _response(endpoint: Endpoint, status: int, meaning: str) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": meaning}
    if status >= 400 and not endpoint.path.startswith("/schema-registry"):
        schema: Mapping[str, Any] = {"$ref": "#/components/schemas/Error"}
        answer["content"] = {"application/json": {"schema": schema}}
    elif status in {200, 201} and endpoint.answer is not None:
        answer["content"] = {"application/json": {"schema": dict(endpoint.answer)}}
    if status in {201, 303} and endpoint.path.startswith("/api/v1/events"):
        answer["headers"] = {"Location": {"schema": {"type": "string", "format": "uri"}}}
    return answer
