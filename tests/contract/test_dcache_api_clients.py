"""What dCache's clients do, as they do it: curl, awk and jq one after the other."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from deploy.local import processes
from tests.wire import call

if TYPE_CHECKING:
    from tests.api_site import ApiSite

pytestmark = [pytest.mark.stack, pytest.mark.programs("curl", "jq", "awk")]

SCRIPT = Path(__file__).with_name("ada_like.sh")


@pytest.mark.rule("R1", "R2", "R3", "R4", "R5", "R6", "R7", "R15", "R16", "R17", "R20")
def test_a_shell_script_watches_a_directory(api_site: ApiSite, front: str, directory: str) -> None:
    """As ada does; nothing but events is in its output, and the channel is gone in the end."""
    listed = f"{front}/api/v1/events/channels?client-id=ada-like"
    expected = [("a b", "IN_CREATE,IN_ISDIR"), ("Å", "IN_CREATE,IN_ISDIR")]
    expected += [("a b", "IN_MOVED_FROM,IN_ISDIR"), ("c", "IN_MOVED_TO,IN_ISDIR")]
    with subprocess.Popen(
        ["bash", str(SCRIPT), f"{front}/api/v1", directory, str(len(expected))],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as script:  # fmt: skip
        assert processes.wait_until(
            lambda: _is_subscribed(listed) or script.poll() is not None, timeout_s=60
        )
        with api_site.webdav() as door:
            door.request("MKCOL", f"{directory}/a%20b").raise_for_status()
            door.request("MKCOL", f"{directory}/%C3%85").raise_for_status()
            destination = {"Destination": f"{api_site.webdav_url}{directory}/c"}
            door.request("MOVE", f"{directory}/a%20b", headers=destination).raise_for_status()
        out, errors = script.communicate(timeout=60)
    assert script.returncode == 0, errors
    assert [tuple(line.split("\t")) for line in out.splitlines()] == expected
    assert errors.splitlines() == ["timeout\t600", f"path\t{directory}"]
    assert call("GET", listed).json == []


def _is_subscribed(listed: str) -> bool:
    return any(call("GET", f"{one}/subscriptions").json for one in call("GET", listed).json)


@pytest.mark.rule("R24")
def test_a_macaroon_can_be_read_by_eye(api_site: ApiSite) -> None:
    """Base64 of packets with four hex digits each; ada looks for its end like that."""
    with api_site.webdav() as door:
        answer = door.post(
            "/data/exp",
            headers={"Content-Type": "application/macaroon-request"},
            json={"validity": "PT10M"},
        )
        answer.raise_for_status()
    decoded = subprocess.run(
        ["base64", "-d", "-i"], input=_padded(answer.json()["macaroon"]), check=True,
        capture_output=True,
    ).stdout  # fmt: skip
    lines = [line[4:] for line in decoded.split(b"\n")]
    assert any(re.fullmatch(rb"cid before:[0-9T:.-]+Z", line) for line in lines), lines


def _padded(token: str) -> bytes:
    """Return base64 as the tool of that name wants it."""
    return (token.replace("-", "+").replace("_", "/") + "=" * (-len(token) % 4)).encode()
