"""A schema registry's read calls, so that Avro deserialisers need nothing else to read the topics.

The schemas are public (they stand in the repository); nothing can be registered here.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from starlette.responses import Response

from api import bodies
from api.endpoints import Endpoint
from pipeline.event_types import registry as event_types
from schemas import registry, topics
from schemas.errors import BadRecord

if TYPE_CHECKING:
    from starlette.requests import Request

    from schemas.registry import Schema

_TYPE: Final = "application/vnd.schemaregistry.v1+json"
_BODY_BYTES: Final = 256 * 1024
_SUFFIX: Final = "-value"


def _answer(content: Any, status: int = 200) -> Response:
    return Response(json.dumps(content), status, media_type=_TYPE)


def _error(status: int, code: int, message: str) -> Response:
    return _answer({"error_code": code, "message": message}, status)


def _subjects() -> dict[str, str]:
    """Return the schema's name for each subject: a topic's values, as Confluent names them."""
    named = [
        topics.BILLING,
        topics.DEAD_LETTER,
        *(one.topic for one in event_types.all().values()),
    ]
    return {topic.name + _SUFFIX: topic.schema for topic in named if topic.schema}


def _versions(subject: str) -> list[Schema]:
    """Return a subject's schemas, oldest first."""
    name = _subjects().get(subject, "")
    return [registry.by_id(schema_id) for schema_id in registry.ids().get(name, [])]


def _described(subject: str, version: int, schema: Schema) -> dict[str, Any]:
    return {"subject": subject, "version": version, "id": schema.id, "schema": schema.text}


async def by_id(request: Request) -> Response:
    """Return the schema with an id."""
    schema_id = request.path_params["schema_id"]
    try:
        return _answer({"schema": registry.by_id(schema_id).text})
    except BadRecord:
        return _error(404, 40403, "Schema not found")


async def versions_of_id(request: Request) -> Response:
    """Return the subjects and versions that have a schema id."""
    try:
        schema = registry.by_id(request.path_params["schema_id"])
    except BadRecord:
        return _error(404, 40403, "Schema not found")
    version = registry.ids()[schema.name].index(schema.id) + 1
    return _answer(
        [
            {"subject": subject, "version": version}
            for subject, name in sorted(_subjects().items())
            if name == schema.name
        ]
    )


async def subjects(request: Request) -> Response:  # noqa: ARG001 - a handler
    """List the subjects."""
    return _answer(sorted(_subjects()))


async def versions(request: Request) -> Response:
    """List a subject's versions."""
    found = _versions(request.path_params["subject"])
    if not found:
        return _error(404, 40401, "Subject not found")
    return _answer(list(range(1, len(found) + 1)))


async def version(request: Request) -> Response:
    """Return one version of a subject."""
    subject = request.path_params["subject"]
    wanted = request.path_params["version"]
    found = _versions(subject)
    if not found:
        return _error(404, 40401, "Subject not found")
    if wanted in {"latest", "-1"}:
        number = len(found)
    elif wanted.isdecimal() and 0 < int(wanted[:9]) <= len(found):
        number = int(wanted)
    else:
        return _error(404, 40402, "Version not found")
    return _answer(_described(subject, number, found[number - 1]))


async def find(request: Request) -> Response:
    """Say which version of a subject a schema is."""
    body = await bodies.read(
        request, limit="body-bytes", maximum_bytes=_BODY_BYTES, timeout_s=10.0
    )
    content = bodies.parse(request, body)
    text = content.get("schema") if isinstance(content, dict) else None
    subject = request.path_params["subject"]
    found = _versions(subject)
    if not found:
        return _error(404, 40401, "Subject not found")
    try:
        wanted = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        return _error(422, 42201, "Invalid schema")
    for number, schema in enumerate(found, 1):
        if json.loads(schema.text) == wanted:
            return _answer(_described(subject, number, schema))
    return _error(404, 40403, "Schema not found")


async def config(request: Request) -> Response:  # noqa: ARG001 - a handler
    """Tell how schemas may evolve."""
    return _answer({"compatibilityLevel": "FULL"})


async def mode(request: Request) -> Response:  # noqa: ARG001 - a handler
    """Tell that nothing can be registered."""
    return _answer({"mode": "READONLY"})


async def associations(request: Request) -> Response:  # noqa: ARG001 - a handler
    """Tell that there are no associations; clients expect a 404."""
    return _error(404, 40401, "Not found")


_BASE: Final = "/schema-registry"
_ABSENT: Final = {404: "There is none."}
_FOUND: Final = {"type": "object", "required": ["subject", "version", "id", "schema"]}


def _get(path: str, handler: Any, summary: str, answers: dict[int, str] | None = None) -> Endpoint:
    return Endpoint(
        "GET",
        _BASE + path,
        handler,
        summary,
        {200: "As a Confluent registry answers.", **(answers or {})},
        is_public=True,
    )


ENDPOINTS = [
    _get("/schemas/ids/{schema_id:int}", by_id, "A schema by its id", _ABSENT),
    _get("/schemas/ids/{schema_id:int}/versions", versions_of_id, "Where it is used", _ABSENT),
    _get("/subjects", subjects, "The subjects"),
    _get("/subjects/{subject}/versions", versions, "A subject's versions", _ABSENT),
    _get("/subjects/{subject}/versions/{version}", version, "One version", _ABSENT),
    Endpoint(
        "POST",
        _BASE + "/subjects/{subject}",
        find,
        "Which version a schema is",
        {200: "As a Confluent registry answers.", **_ABSENT, 422: "Not a schema."},
        body={"type": "object", "required": ["schema"]},
        answer=_FOUND,
        is_public=True,
    ),
    _get("/config", config, "How schemas may evolve"),
    _get("/mode", mode, "Read-only"),
    Endpoint(
        "GET",
        _BASE + "/associations/{rest:path}",
        associations,
        "There are no associations",
        {404: "Always."},
        is_public=True,
    ),
]
