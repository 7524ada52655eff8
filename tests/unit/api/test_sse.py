"""The bytes of a stream, as the rules of real clients want them."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from api import sse
from pipeline.event_types import inotify


def test_an_event_is_event_id_data_and_a_blank_line() -> None:
    made = sse.event("inotify", b"17", '{"mask":["IN_IGNORED"]}', "http://h/s")
    assert made == (
        b"event: inotify\nid: 17\n"
        b'data: {"event":{"mask":["IN_IGNORED"]},"subscription":"http://h/s"}\n\n'
    )


def test_a_system_event_has_no_id() -> None:
    assert sse.system(sse.SHUTDOWN) == b'event: SYSTEM\ndata: {"type":"SHUTDOWN"}\n\n'
    assert sse.system(sse.EVENT_LOSS, subscription="u", path="/å\n") == (
        b'event: SYSTEM\ndata: {"type":"EVENT_LOSS","subscription":"u","path":"/\\u00e5\\n"}\n\n'
    )


def test_a_keep_alive_is_a_comment_line_without_a_blank_line() -> None:
    assert sse.KEEP_ALIVE.startswith(b":")
    assert sse.KEEP_ALIVE.endswith(b"\n")
    assert sse.KEEP_ALIVE.count(b"\n") == 1


@given(st.text(), st.text())
def test_no_name_can_break_a_frame(name: str, url: str) -> None:
    made = sse.event("inotify", b"1", inotify.payload(0x100, name), url)
    assert made.isascii()
    assert b"\r" not in made
    assert made.count(b"\n") == 4
    data = json.loads(made.split(b"\ndata: ")[1])
    assert data == {"event": {"name": name, "mask": ["IN_CREATE"]}, "subscription": url}


def test_a_payload_that_is_not_ascii_is_written_anew() -> None:
    assert sse.middle('{"a":\n"\u2028"}') == b'\ndata: {"event":{"a":"\\u2028"}'
