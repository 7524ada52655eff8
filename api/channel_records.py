"""Subscriptions as JSON, as the channel store keeps them."""

from __future__ import annotations

import base64
import dataclasses
import json

from api.channels import Metronome, Subscription
from pipeline.event_types.base import Watch


def to_json(subscription: Subscription) -> str:
    """Write a subscription down."""
    record = dataclasses.asdict(subscription)
    for name in ("inode", "ancestors"):
        record[name] = base64.b64encode(record[name]).decode()
    return json.dumps(record, separators=(",", ":"))


def from_json(text: str | bytes) -> Subscription:
    """Read what `to_json` wrote."""
    record = json.loads(text)
    for name in ("inode", "ancestors"):
        record[name] = base64.b64decode(record[name])
    watch = record["watch"]
    watch["include"] = tuple(watch["include"])
    watch["exclude"] = tuple(watch["exclude"])
    record["watch"] = Watch(**watch)
    if record["metronome"] is not None:
        record["metronome"] = Metronome(**record["metronome"])
    if record["end"] is not None:
        record["end"] = tuple(record["end"])
    return Subscription(**record)
