"""Records as aiokafka's parser has made them, where it would copy each into another object.

The copy (a dataclass of eleven fields, seen with aiokafka 0.14) is half of what reading costs. The
parser's own records have what is needed here: `key`, `value`, `offset`, `timestamp` (in
milliseconds) and `timestamp_type`. Topic and partition they do not know: those come with the list.
"""

from __future__ import annotations

import collections
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Container

    from aiokafka import AIOKafkaConsumer


def _itself(_partition: Any, record: Any) -> Any:
    return record


class _Fetched(collections.OrderedDict[Any, Any]):
    """A fetcher's results: what comes in for these topics is not copied when it is taken out."""

    def __init__(self, topics: Container[str]) -> None:
        super().__init__()
        self._topics = topics

    def __setitem__(self, partition: Any, result: Any) -> None:
        records = getattr(result, "_partition_records", None)  # an error has none
        if records is not None and partition.topic in self._topics:
            records._consumer_record = _itself  # noqa: SLF001 - the only way in
        super().__setitem__(partition, result)


def leave_as_parsed(consumer: AIOKafkaConsumer, topics: Container[str]) -> None:
    """Let a consumer give the parser's records of these topics.

    Args:
        consumer: it has been started and nothing has been read.
        topics: looked up for each fetch.
    """
    consumer._fetcher._records = _Fetched(topics)  # noqa: SLF001 - the only way in
