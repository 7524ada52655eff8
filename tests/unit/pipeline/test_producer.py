"""What is filled into a batch is what aiokafka's own way fills in."""

from __future__ import annotations

from aiokafka.producer.message_accumulator import BatchBuilder
from hypothesis import given
from hypothesis import strategies as st

from pipeline.transport.producer import Message, _fill

TIME_MS = 1_700_000_000_000
MESSAGES = st.lists(
    st.builds(
        Message,
        st.none() | st.binary(max_size=9),
        st.binary(max_size=300),
        st.integers(TIME_MS, TIME_MS + 10_000),
    ),
    max_size=30,
)


def batch(max_bytes: int) -> BatchBuilder:
    return BatchBuilder(
        max_bytes, 0, is_transactional=False, key_serializer=None, value_serializer=None
    )


@given(MESSAGES, st.sampled_from([100, 1_000, 100_000]))
def test_it_has_the_same_bytes_and_the_same_count(messages: list[Message], max_bytes: int) -> None:
    """Also where a message has no room."""
    theirs, count = batch(max_bytes), 0
    for key, value, timestamp in messages:
        if theirs.append(key=key, value=value, timestamp=timestamp) is None:
            break
        count += 1
    ours = batch(max_bytes)
    assert _fill(ours, messages) == count
    assert ours.record_count() == theirs.record_count() == count
    assert bytes(ours._build()) == bytes(theirs._build())
