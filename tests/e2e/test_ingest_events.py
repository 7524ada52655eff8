"""Users watch what becomes of their uploads: event type ingest, through the whole stack."""

from __future__ import annotations

import json
import re
import subprocess
from typing import TYPE_CHECKING, Any

import httpx
import httpx_sse
import pytest

from deploy.local import stack as local
from deploy.local.demonstrators import ROOT, Demonstrator

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from deploy.local.stack import Stack

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

RULES = """
[storages.sim]
url = "{url}"
user = "alice"
password = "{password}"

[functions.fail]
command = ["sh", "-c", "echo a secret in the file; exit 4"]
attempts = 1

[functions.copy]
command = ["cp", "{{read}}", "{{write}}"]

[[ingest]]
name = "copy"
function = "copy"
directories = ["{directory}"]
matching = "*.good"
[ingest.urls.read]
[ingest.urls.write]
replacing = 'good$'
with = 'copy'

[[ingest]]
name = "fail"
function = "fail"
directories = ["{directory}"]
matching = "*.bad"
[ingest.urls.read]
"""


@pytest.fixture
def ingest(stack: Stack, directory: str, tmp_path: Path) -> Iterator[None]:
    """Run agent and runner on the stack's storage, for one directory."""
    rules = tmp_path / "rules.toml"
    rules.write_text(
        RULES.format(url=stack.webdav_url, password=local.password("alice"), directory=directory)
    )
    parts = Demonstrator(tmp_path, bootstrap=stack.bootstrap)
    processes = [parts.ingest_agent(rules), parts.ingest_runner(rules)]
    for process in processes:
        process.start()
    yield
    for process in processes:
        process.stop()


class Reader:
    """A user's channel with one subscription to event type ingest."""

    def __init__(self, api: str, user: str) -> None:
        self.client = httpx.Client(auth=(user, local.password(user)), timeout=60)
        made = self.client.post(f"{api}/api/v1/events/channels").raise_for_status()
        self.channel = made.headers["Location"]
        self.last_event_id = ""

    def watch(self, path: str, **more: Any) -> int:
        url = f"{self.channel}/subscriptions/ingest"
        return self.client.post(url, json={"path": path, **more}).status_code

    def read(self, outcomes: int) -> list[dict[str, Any]]:
        """Return what is told until so many jobs have their outcome."""
        told: list[dict[str, Any]] = []
        headers = {"Last-Event-ID": self.last_event_id} if self.last_event_id else {}
        with httpx_sse.connect_sse(self.client, "GET", self.channel, headers=headers) as stream:
            for message in stream.iter_sse():
                if message.event == "ingest":
                    told.append(json.loads(message.data)["event"])
                    outcomes -= told[-1]["state"] != "STARTED"
                    self.last_event_id = message.id
                if not outcomes:
                    return told
        raise AssertionError("the stream ended")


def test_the_how_to_runs_as_it_stands(stack: Stack, tmp_path: Path) -> None:
    text = (ROOT / "docs/how-to/write-an-ingest-rule.md").read_text()
    (rules, *_) = re.findall(r"^```toml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    (commands,) = re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    (tmp_path / "rules.toml").write_text(rules)
    (tmp_path / ".run").symlink_to(stack.run)
    for name in (".venv", "examples", "README.md"):
        (tmp_path / name).symlink_to(ROOT / name)
    state = f"export STORAGE_EVENTS_INGEST_STATE={tmp_path}/ingest\n"
    done = subprocess.run(
        ["bash", "-c", "set -eu; trap 'kill $(jobs -p)' EXIT\n" + state + commands],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"words": {' in done.stdout


@pytest.mark.usefixtures("ingest")
def test_who_may_list_the_directory_is_told_and_nothing_of_contents(
    stack: Stack, alice: httpx.Client, directory: str
) -> None:
    carol = Reader(stack.api_urls[0], "carol")
    assert carol.watch("/data/exp", recursive=True) == 201
    bob = Reader(stack.api_urls[0], "bob")
    assert bob.watch(directory) == 400
    for name in ("one.good", "two.bad"):
        alice.put(f"{directory}/{name}", content=b"x").raise_for_status()
    told = {(event["path"], event["state"]): event for event in carol.read(2)}
    assert set(told) == {
        (f"{directory}/one.good", "STARTED"),
        (f"{directory}/one.good", "DONE"),
        (f"{directory}/two.bad", "STARTED"),
        (f"{directory}/two.bad", "FAILED"),
    }
    assert told[f"{directory}/two.bad", "FAILED"] == {
        "state": "FAILED", "rule": "fail", "function": "fail", "path": f"{directory}/two.bad",
        "attempt": 1, "reason": "its exit status is 4",
    }  # fmt: skip
    # What happens while she is away is told when she is back, on another node, too.
    alice.put(f"{directory}/three.good", content=b"x").raise_for_status()
    carol.channel = carol.channel.replace(stack.api_urls[0], stack.api_urls[1])
    assert [(event["path"], event["state"]) for event in carol.read(1)] == [
        (f"{directory}/three.good", "STARTED"),
        (f"{directory}/three.good", "DONE"),
    ]
