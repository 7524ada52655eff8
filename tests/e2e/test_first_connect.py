"""Subscribe, let things happen, then connect for the first time: all of it is told."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest

from deploy.local import stack as local
from tests.e2e.burst import Burst
from tests.wire import Stream

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

    from deploy.local.listener import Listener
    from deploy.local.stack import Stack

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

OPERATIONS = 100
ALL_ARRIVE_S = 90.0


def operate(stack: Stack, directory: str, *, restarted: int) -> Burst:
    """Do a hundred operations; in the middle of them an API node is killed and started again."""
    login = ("alice", local.password("alice"))
    burst = Burst(stack.webdav_url, login, directory, count=OPERATIONS)
    burst.start()
    assert burst.wait_done(OPERATIONS // 2)
    stack.apis[restarted].kill()
    assert burst.wait_done(OPERATIONS)
    stack.restart(stack.apis[restarted])
    return burst


@pytest.mark.parametrize("node", [0, 1])
def test_all_that_happened_since_subscribing_is_told(
    node: int, stack: Stack, directory: str, listener: Callable[..., Listener]
) -> None:
    """By the node that was killed and started meanwhile, and by another."""
    ear = listener(node=0)
    assert ear.watch(directory).status_code == 201
    burst = operate(stack, directory, restarted=0)
    ear.move_to(stack.api_urls[node])
    ear.start()
    expected = burst.expected()
    ear.wait(lambda: len(ear.heard) >= len(expected), timeout_s=ALL_ARRIVE_S)
    assert list(ear.told()) == expected
    assert ear.system == []


@pytest.mark.parametrize("node", [0, 1])
def test_a_named_one_request_stream_is_told_all_since_its_first_request(
    node: int, stack: Stack, directory: str
) -> None:
    """It subscribes by asking; its reader went before anything happened and kept nothing."""
    name = uuid.uuid4().hex
    query = f"/api/v1/events/stream?watch={directory}&client-id={name}"
    with Stream(stack.api_urls[0] + query) as stream:
        assert stream.answer.status == 200
    burst = operate(stack, directory, restarted=0)
    expected = [(name, mask.split(",")[0]) for _, mask, name in burst.expected()]
    with Stream(stack.api_urls[node] + query) as stream:
        stream.until(len(expected), ALL_ARRIVE_S)
        assert stream.masks() == expected
        assert {event.kind for event in stream.events} == {"inotify"}


def test_a_directory_that_is_gone_by_then_is_told_to_its_end(
    stack: Stack, alice: httpx.Client, directory: str, listener: Callable[..., Listener]
) -> None:
    """Its events are still on their way when the reader comes: the worker was away."""
    ear = listener()
    assert ear.watch(directory).status_code == 201
    stack.workers[0].kill()
    for name in ("a", "b"):
        alice.request("MKCOL", f"{directory}/{name}").raise_for_status()
    alice.request("DELETE", f"{directory}/").raise_for_status()
    ear.start()
    assert ear.wait(lambda: ear.connections > 0)
    assert not ear.wait(lambda: bool(ear.heard or ear.system), timeout_s=2.0)
    stack.restart(stack.workers[0])
    assert ear.wait(lambda: "SUBSCRIPTION_CLOSED" in ear.system, timeout_s=ALL_ARRIVE_S)
    assert ear.wait(lambda: ear.heard[-1].flag == "IN_IGNORED", timeout_s=ALL_ARRIVE_S)
    assert [(heard.flag, heard.name) for heard in ear.heard] == [
        ("IN_CREATE,IN_ISDIR", "a"),
        ("IN_CREATE,IN_ISDIR", "b"),
        ("IN_DELETE,IN_ISDIR", "a"),
        ("IN_DELETE,IN_ISDIR", "b"),
        ("IN_DELETE_SELF", ""),
        ("IN_IGNORED", ""),
    ]
