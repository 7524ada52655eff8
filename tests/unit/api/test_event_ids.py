"""Event ids: exact, opaque, of one channel only."""

from __future__ import annotations

import itertools
import os

from hypothesis import given
from hypothesis import strategies as st

from api import event_ids
from api.event_ids import Ids, Layer

KEY = bytes(range(32))
SLOT = "inotify:sim"
SLOTS = [SLOT, "inotify:sim/a", "transfer:sim", "metronome:x", "snapshot:3"]


def ids(channel: str = "C", first: str = SLOT, key: bytes = KEY) -> Ids:
    return Ids(key, channel, first)


places = st.builds(
    event_ids.place,
    st.integers(0, 2**62),
    st.integers(0, 2**16 - 1),
    st.integers(0, 2**32 - 1),
)
small_places = st.builds(
    event_ids.place, st.integers(0, 2**48 - 1), st.integers(0, 253), st.integers(0, 65534)
)
layers = st.lists(
    st.builds(Layer, st.integers(0, 2**40), st.dictionaries(st.sampled_from(SLOTS), places)),
    max_size=4,
)


@given(layers)
def test_every_cursor_comes_back(made: list[Layer]) -> None:
    text = ids().encode(tuple(made))
    assert text.isdigit()
    assert ids().decode(text.decode(), SLOTS) == tuple(made)


@given(layers.filter(bool))
def test_a_salted_id_is_another_one_each_time(made: list[Layer]) -> None:
    """Of the same length: who asks twice does not learn whether anything happened."""
    first, second = (ids().salted(tuple(made)) for _ in range(2))
    assert first != second
    assert len(f"{int(first):x}") == len(f"{int(second):x}")
    for text in (first, second):
        assert ids().decode(text.decode(), SLOTS) == tuple(made)


@given(small_places, st.integers(0, 65535))
def test_the_common_case_is_one_block(at: int, generation: int) -> None:
    cursor = (Layer(generation, {SLOT: at}),)
    text = ids().encode(cursor)
    assert int(text) < 2**128
    assert ids().decode(text.decode(), ()) == cursor


@given(st.integers(0, 2**47))
def test_the_end_of_a_message_is_one_block_too(number: int) -> None:
    cursor = (Layer(1, {SLOT: event_ids.end_of(number)}),)
    text = ids().encode(cursor)
    assert int(text) < 2**128
    assert ids().decode(text.decode(), ()) == cursor


@given(st.lists(small_places, min_size=1, max_size=50), st.integers(0, 65535))
def test_blocks_enciphered_together_are_those_enciphered_alone(
    ats: list[int], generation: int
) -> None:
    halves = [(event_ids.high_half(at) or 0, ids().low_half(at, generation)) for at in ats]
    together = ids().cipher.ids([half for pair in halves for half in pair])
    assert together == [ids().encode((Layer(generation, {SLOT: at}),)) for at in ats]


@given(layers)
def test_an_id_of_another_channel_or_server_is_nothing(made: list[Layer]) -> None:
    text = ids().encode(tuple(made)).decode()
    assert ids("D").decode(text, SLOTS) is None
    assert ids(key=bytes(32)).decode(text, SLOTS) is None


@given(layers, st.integers(0, 10**6))
def test_a_damaged_id_is_nothing(made: list[Layer], where: int) -> None:
    text = list(ids().encode(tuple(made)).decode())
    at = where % len(text)
    text[at] = str((int(text[at]) + 1 + where % 9) % 10)
    assert ids().decode("".join(text), SLOTS) is None


@given(st.text(max_size=60))
def test_any_text_is_read_without_an_error(text: str) -> None:
    assert ids().decode(text, SLOTS) is None


def test_forging_finds_nothing() -> None:
    for _ in range(20_000):
        value = int.from_bytes(os.urandom(16), "big")
        assert ids_.decode(str(value), SLOTS) is None


ids_ = ids()


def test_numbers_close_to_each_other_are_not_seen_in_their_ids() -> None:
    made = [int(ids().encode((Layer(1, {SLOT: event_ids.place(n)}),))) for n in range(2000)]
    assert len(set(made)) == 2000
    ups = sum(a < b for a, b in itertools.pairwise(made))
    assert 800 < ups < 1200


def test_a_channel_without_slots_has_long_ids_only() -> None:
    cursor = (Layer(1, {SLOT: event_ids.place(5)}),)
    without = ids(first="")
    text = without.encode(cursor).decode()
    assert int(text) >= 2**128
    assert without.decode(text, SLOTS) == cursor
    assert without.decode(ids().encode(cursor).decode(), SLOTS) is None


def test_slots_that_are_gone_are_left_out() -> None:
    cursor = (Layer(1, {"a:1": event_ids.place(5), "b:2": event_ids.place(6)}),)
    text = ids().encode(cursor).decode()
    assert ids().decode(text, ["b:2"]) == (Layer(1, {"b:2": event_ids.place(6)}),)


@given(st.integers(0, 2**40), st.integers(0, 200), st.integers(0, 2**31))
def test_places_compare_like_positions(number: int, rank: int, sequence: int) -> None:
    at = event_ids.place(number, rank, sequence)
    assert at < event_ids.place(number, rank, sequence + 1) < event_ids.place(number, rank + 1, 0)
    assert at < event_ids.end_of(number) < event_ids.behind(number) < event_ids.place(number + 1)
    assert event_ids.number_of(at) == number
    assert event_ids.read_from(at) == max(0, number - 1)
    assert event_ids.read_from(event_ids.end_of(number)) == number
    assert event_ids.read_from(event_ids.behind(number)) == number


@given(st.integers(0, 1000), st.integers(0, 300), st.integers(0, 1000), st.integers(0, 1000))
def test_an_ending_comes_after_all_that_was_passed(
    number: int, rank: int, sequence: int, of: int
) -> None:
    at = event_ids.place(number, rank, sequence)
    ends = max(of, number)
    made = event_ids.place(ends, event_ids.ending_rank(at, ends), 0)
    assert made > at
    assert made > event_ids.end_of(ends)


def test_equal_layers_become_one() -> None:
    a, b = {SLOT: 1}, {SLOT: 2}
    made = event_ids.normal([Layer(1, a), Layer(2, dict(a)), Layer(3, b)])
    assert made == (Layer(2, a), Layer(3, b))
