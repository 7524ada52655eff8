"""Bad input: the status of dCache's interface, a body that says what is wrong, no traceback."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import httpx
import pytest

from deploy.local import stack as local

if TYPE_CHECKING:
    from deploy.local.stack import Stack

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

ALICE = ("alice", local.password("alice"))
BOB = ("bob", local.password("bob"))
EVENTS = "/api/v1/events"


class Bad(NamedTuple):
    """One bad request and its answer; `{channel}` is a channel of alice."""

    what: str
    status: int
    method: str
    path: str
    says: str = ""
    body: Any = None
    raw: bytes | None = None
    login: tuple[str, str] | None = ALICE
    content_type: str = "application/json"


SUBSCRIBE = "{channel}/subscriptions/inotify"

TABLE = [
    Bad("unknown path", 400, "POST", SUBSCRIBE, "Not found", {"path": "/data/no-such"}),
    Bad("closed path", 400, "POST", SUBSCRIBE, "Not found", {"path": "/home/bob"}),
    Bad("bad JSON", 400, "POST", SUBSCRIBE, "", raw=b'{"path": '),
    Bad("no body", 400, "POST", SUBSCRIBE, "Missing JSON entity in POST request"),
    Bad("an array", 400, "POST", SUBSCRIBE, "Bad selector", ["/data"]),
    Bad("no path", 400, "POST", SUBSCRIBE, "Bad selector", {}),
    Bad("unknown member", 400, "POST", SUBSCRIBE, "Bad selector", {"path": "/data", "paht": 1}),
    Bad(
        "bad flag", 400, "POST", SUBSCRIBE, "Bad selector", {"path": "/data", "flags": ["IN_BAD"]}
    ),
    Bad("unknown type", 400, "POST", "{channel}/subscriptions/weather", "Unknown event type", {}),
    Bad("wrong password", 401, "GET", f"{EVENTS}/channels", login=("alice", "wrong")),
    Bad("nobody", 401, "GET", f"{EVENTS}/channels", login=None),
    Bad("another's channel", 403, "GET", "{channel}", login=BOB),
    Bad("another's deletion", 403, "DELETE", "{channel}", login=BOB),
    Bad("no such channel", 404, "GET", f"{EVENTS}/channels/AAAAAAAAAAAAAAAAAAAAAA", "No such"),
    Bad("no such subscription", 404, "GET", f"{SUBSCRIBE}/AAAA", "No such subscription"),
    Bad("no such type", 404, "GET", f"{EVENTS}/eventTypes/weather", "No such event type"),
    Bad("no such page", 404, "GET", "/api/v1/nowhere"),
    Bad("timeout too long", 400, "PATCH", "{channel}", "longer", {"timeout": 10**9}),
    Bad("timeout no number", 400, "PATCH", "{channel}", "", {"timeout": "long"}),
    Bad("wrong type", 415, "POST", f"{EVENTS}/channels", raw=b"a=b", content_type="text/plain"),
    Bad("body too large", 413, "POST", SUBSCRIBE, raw=b'{"path": "' + b"x" * 10_000_000 + b'"}'),
    Bad("wrong method", 405, "PUT", f"{EVENTS}/channels", body={}),
]


@pytest.fixture(scope="module", autouse=True)
def logged_before(stack: Stack) -> list[int]:
    """Give how long each node's log was; what others did to the stack is not looked at here."""
    return [len(process.log.read_text()) for process in stack.apis]


@pytest.fixture(scope="module")
def channel(stack: Stack) -> str:
    """Give the path of a channel of alice."""
    made = httpx.post(f"{stack.api_urls[0]}{EVENTS}/channels", auth=ALICE)
    return httpx.URL(made.headers["Location"]).path


@pytest.mark.parametrize("bad", TABLE, ids=[bad.what for bad in TABLE])
def test_bad_input_is_answered_clearly(bad: Bad, stack: Stack, channel: str) -> None:
    """Each row of the table: its status, its words, its line in the log."""
    url = stack.api_urls[0] + bad.path.format(channel=channel)
    arguments: dict[str, Any] = {} if bad.body is None else {"json": bad.body}
    if bad.raw is not None:
        arguments = {"content": bad.raw, "headers": {"Content-Type": bad.content_type}}
    try:
        answer = httpx.request(bad.method, url, auth=bad.login, timeout=30, **arguments)
    except httpx.WriteError:  # the server stopped reading what is too large, and closed
        assert bad.status == 413
        return
    assert answer.status_code == bad.status, answer.text
    assert bad.says in answer.text
    assert "Traceback" not in answer.text
    if answer.content:
        said = answer.json()
        assert said["status"] == str(bad.status)
        assert said["title"]


def test_nothing_of_this_is_a_traceback_in_the_log(stack: Stack, logged_before: list[int]) -> None:
    """What users get wrong is no fault of the server's: its logs have lines, no tracebacks."""
    for process, length in zip(stack.apis, logged_before, strict=True):
        assert "Traceback" not in process.log.read_text()[length:]
