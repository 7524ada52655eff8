"""The AsyncAPI 3.0 description of the streams and topics, made from the code."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from api import sse
from schemas import registry, topics

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.event_types.base import Subscribable
    from schemas.topics import Topic

_SYSTEM = {
    "type": "object",
    "required": ["type"],
    "properties": {
        "type": {"enum": list(sse.SYSTEM_TYPES)},
        "subscription": {"type": "string", "format": "uri"},
        "path": {"type": "string"},
    },
}


def describe(event_types: Mapping[str, Subscribable], version: str) -> dict[str, Any]:
    """Return the description.

    Args:
        event_types: by name.
        version: this software's.
    """
    derived = [kind.topic for kind in event_types.values() if hasattr(kind, "topic")]
    channels: dict[str, Any] = {"stream": _stream(event_types)}
    operations: dict[str, Any] = {
        "read-stream": {"action": "send", "channel": {"$ref": "#/channels/stream"}}
    }
    for topic in (topics.BILLING, *derived, topics.DEAD_LETTER):
        channels[topic.name] = _topic(topic)
        operations[f"write-{topic.name}"] = {
            "action": "send",
            "channel": {"$ref": f"#/channels/{topic.name}"},
        }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Storage events",
            "version": version,
            "description": "What is told: to clients as server-sent events, inside on Kafka.",
            "license": {"name": "Apache-2.0"},
        },
        "channels": channels,
        "operations": operations,
    }


def _stream(event_types: Mapping[str, Subscribable]) -> dict[str, Any]:
    messages: dict[str, Any] = {
        name: {
            "title": kind.description,
            "contentType": "application/json",
            "payload": {
                "type": "object",
                "required": ["event", "subscription"],
                "properties": {
                    "event": dict(kind.event_schema),
                    "subscription": {"type": "string", "format": "uri"},
                },
            },
        }
        for name, kind in event_types.items()
    }
    messages["SYSTEM"] = {
        "title": "About the channel itself; never replayed, and without an id but for the"
        " NEW_SUBSCRIPTION with which a stream of one request begins.",
        "contentType": "application/json",
        "payload": _SYSTEM,
    }
    return {
        "address": "/api/v1/events/channels/{channel_id}",
        "title": "A channel's server-sent events; the event's name is the message's.",
        "parameters": {"channel_id": {"description": "As POST …/channels answered."}},
        "messages": messages,
    }


def _topic(topic: Topic) -> dict[str, Any]:
    schema = registry.newest(topic.schema) if topic.schema else None
    message: dict[str, Any] = {"title": topic.name, "description": f"Key: {topic.key}."}
    if schema is None:
        message["contentType"] = "application/cloudevents+json"
    else:
        message |= {
            "contentType": "application/vnd.confluent.avro",
            "payload": {
                "schemaFormat": "application/vnd.apache.avro;version=1.9.0",
                "schema": json.loads(schema.text),
            },
            "bindings": {
                "kafka": {"schemaIdLocation": "payload", "schemaIdPayloadEncoding": "confluent"}
            },
        }
    config = {"retention.ms": topic.retention_ms}
    return {
        "address": topic.name,
        "messages": {topic.name: message},
        "bindings": {"kafka": {"topic": topic.name, "topicConfiguration": config}},
    }
