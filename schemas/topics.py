"""The Kafka topics: name, key, partitions, retention.

Every derived topic has as many partitions as `billing` and the same key, the shard: a shard keeps
its partition number through the whole pipeline, so derived batches go where their input came from.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

SECONDS: Final = 1000
DAYS: Final = 24 * 60 * 60 * SECONDS


@dataclass(frozen=True, slots=True)
class Topic:
    """A Kafka topic.

    Attributes:
        name: the topic.
        schema: the Avro schema of its values: a file `avro/<schema>.avsc`; empty: not Avro.
        retention_ms: how long Kafka keeps its records, in milliseconds.
        key: what the record key is, for the documentation.
        config: further topic settings, as Kafka names them.
    """

    name: str
    schema: str
    retention_ms: int
    key: str = "the shard, UTF-8"
    config: dict[str, str] = field(default_factory=dict)


BILLING: Final = Topic("billing", "billing", 7 * DAYS)
DEAD_LETTER: Final = Topic("dead-letter", "dead_letter", 30 * DAYS, key="the key of the record")

DEFAULT_PARTITIONS: Final = 8
