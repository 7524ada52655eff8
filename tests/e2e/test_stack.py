"""The stack itself: started again without harm, described for its users, and the demo's story."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import httpx
import pytest

from deploy.local import processes
from deploy.local.demo import Demo
from deploy.local.stack import missing

if TYPE_CHECKING:
    from deploy.local.stack import Stack

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


def test_a_second_start_changes_nothing(stack: Stack) -> None:
    """`make up` on a running stack leaves every process alone."""
    all_of_it = [stack.storage, *stack.workers, *stack.apis]
    before = [process.pid for process in all_of_it]
    stack.up(print)
    assert [process.pid for process in all_of_it] == before
    assert all(before)
    assert processes.wait_until(
        lambda: {state for _, state in stack.status()} == {"running", "ready"}, timeout_s=60
    )


def test_it_says_where_everything_is(stack: Stack) -> None:
    """`env` is for the owner only, and what stands in it is true."""
    file = stack.run / "env"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    env = dict(line.split("=", 1) for line in file.read_text().splitlines())
    assert env["API_URL"] == env["API_URLS"].split(",")[0]
    assert len(env["API_URLS"].split(",")) == len(stack.apis)
    for url in [*env["API_URLS"].split(","), env["REST_URL"]]:
        assert processes.wait_until(lambda url=url: not missing(url), timeout_s=60)
        assert httpx.get(f"{url}/health/live", timeout=60).status_code == 200
    for user in env["USERS"].split(","):
        login = (user, env[f"{user.upper()}_PASSWORD"])
        said = httpx.get(f"{env['REST_URL']}/api/v1/user", auth=login, timeout=60)
        assert said.json()["username"] == user
        found = httpx.request(
            "PROPFIND", env["WEBDAV_URL"], auth=login, headers={"Depth": "0"}, timeout=60
        )
        assert found.status_code == 207


def test_the_demo_holds(stack: Stack) -> None:
    """Every claim of `make demo` is true."""
    demo = Demo(stack)
    assert demo.tell()
    assert len(demo.claims) >= 6
