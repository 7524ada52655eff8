"""What aiokafka's fetcher has read, taken out without its detours (seen with aiokafka 0.14).

* *No copies*: aiokafka copies each record of its parser into a dataclass of eleven fields, and
  asks each in turn for its offset; that is half of what reading costs. The parser's own records
  have what is needed here: `key`, `value`, `offset`, `timestamp` (in milliseconds) and
  `timestamp_type`. Topic and partition they do not know: those come with the list.
* *No standstill*: while some partition's records lie unread for 0.1 s, aiokafka asks the broker
  for the others, which may have nothing; the broker lets that request wait for up to 1.5 s, and
  meanwhile nothing is fetched from anywhere. Here it asks when all is taken out, and for all.
"""

# ruff: noqa: SLF001 - aiokafka has no other way in

from __future__ import annotations

import collections
import functools
import itertools
import weakref
from typing import TYPE_CHECKING, Any, Final

from aiokafka.consumer.fetcher import READ_UNCOMMITTED
from aiokafka.errors import CorruptRecordException

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator

    from aiokafka import AIOKafkaConsumer

UNREAD_S: Final = 5.0
"""How long one partition's unread records may keep back the fetching of others."""


def _batches(parsed: Any) -> Iterator[Iterable[Any]]:
    """Yield the records of each batch of a fetch; afterwards the place to fetch next is set.

    Args:
        parsed: aiokafka's `PartitionRecords`.
    """
    begin = after = parsed.next_fetch_offset
    is_first = True  # a broker sends whole batches: the first may begin before what was asked for
    while parsed._records.has_next():
        batch = parsed._records.next_batch()
        if parsed._check_crcs and not batch.validate_crc():
            raise CorruptRecordException(f"{parsed._tp}: a batch at or after {after} is corrupt")
        if not batch.is_control_batch:
            yield (record for record in batch if record.offset >= begin) if is_first else batch
        after = batch.next_offset
        is_first = False
    parsed.next_fetch_offset = after


def _getall(result: Any, records: Iterator[Any], max_records: int | None = None) -> list[Any]:
    """Stand in for `FetchResult.getall`: the next records, as they were parsed."""
    if not result.check_assignment(result._topic_partition) or not result.has_more():
        return []
    taken = list(itertools.islice(records, max_records))
    if max_records is not None and len(taken) == max_records:
        result._partition_records.next_fetch_offset = taken[-1].offset + 1
        result._update_position()
    else:
        result._update_position()
        result._partition_records = None
    return taken


class _Fetched(collections.OrderedDict[Any, Any]):
    """A fetcher's results: what comes in for these topics is not copied when it is taken out."""

    def __init__(self, topics: Container[str]) -> None:
        super().__init__()
        self._topics = topics

    def __setitem__(self, partition: Any, result: Any) -> None:
        parsed = getattr(result, "_partition_records", None)  # an error has none
        if parsed is not None and partition.topic in self._topics:
            # Rings would keep what was fetched until the collector comes, which it does seldom.
            parsed._records_iterator = None  # aiokafka's own, which holds `parsed`
            records = itertools.chain.from_iterable(_batches(parsed))
            result.getall = functools.partial(_getall, weakref.proxy(result), records)
        super().__setitem__(partition, result)


def leave_as_parsed(consumer: AIOKafkaConsumer, topics: Container[str]) -> None:
    """Let a consumer's `getmany` give the parser's records of these topics.

    Args:
        consumer: it has been started and nothing has been read.
        topics: looked up for each fetch.

    Raises:
        ValueError: it reads committed records only.
    """
    fetcher = consumer._fetcher
    if fetcher._isolation_level != READ_UNCOMMITTED:
        raise ValueError("aborted transactions are not looked for here")
    fetcher._records = _Fetched(topics)


def ask_for_all(consumer: AIOKafkaConsumer) -> None:
    """Let a consumer ask when all that was fetched has been taken out, and for all; see above.

    Args:
        consumer: it has been started, and all its partitions are read.
    """
    consumer._fetcher._prefetch_backoff = UNREAD_S


def ask_for_some(consumer: AIOKafkaConsumer) -> None:
    """Let a consumer ask for what some partition lacks, whatever lies unread in others."""
    consumer._fetcher._prefetch_backoff = 0.0
