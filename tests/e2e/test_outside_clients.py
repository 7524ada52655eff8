"""Clients that are not ours: curl, rclone and cadaver write; curl and httpx-sse listen."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from deploy.local import stack as local
from deploy.local.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from deploy.local.listener import Listener
    from deploy.local.stack import Stack

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(120),
    pytest.mark.programs("rclone", "cadaver"),
]

LOGIN = f"alice:{local.password('alice')}"
UPLOAD = ("IN_CREATE", "IN_OPEN", "IN_MODIFY", "IN_CLOSE_WRITE")
READ = ("IN_OPEN", "IN_ACCESS", "IN_CLOSE_NOWRITE")


def told_of(*happened: tuple[tuple[str, ...] | str, str]) -> list[tuple[str, str]]:
    """Return (flag, name) pairs from flags, or groups of flags, and names."""
    return [
        (flag, name)
        for flags, name in happened
        for flag in ((flags,) if isinstance(flags, str) else flags)
    ]


STORY = told_of(
    (UPLOAD, "one.dat"),
    (READ, "one.dat"),
    ("IN_MOVED_FROM", "one.dat"),
    ("IN_MOVED_TO", "two.dat"),
    ("IN_DELETE", "two.dat"),
    ("IN_CREATE,IN_ISDIR", "sub"),
    ("IN_DELETE,IN_ISDIR", "sub"),
)


def run(*command: str, environ: dict[str, str] | None = None, script: str = "") -> str:
    """Run an outside program; its failure fails the test, with what it said."""
    done = subprocess.run(
        command, capture_output=True, text=True, input=script, timeout=60, check=False,
        env={**os.environ, **(environ or {})},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def by_curl(webdav: str, directory: str, file: Path, _home: Path) -> None:
    """Tell the story by curl."""
    url = f"{webdav}{directory}"
    curl = ("curl", "-fsS", "-o", "/dev/null", "-u", LOGIN)
    run(*curl, "-T", str(file), f"{url}/one.dat")
    run(*curl, f"{url}/one.dat")
    run(*curl, "-X", "MOVE", "-H", f"Destination: {url}/two.dat", f"{url}/one.dat")
    run(*curl, "-X", "DELETE", f"{url}/two.dat")
    run(*curl, "-X", "MKCOL", f"{url}/sub")
    run(*curl, "-X", "DELETE", f"{url}/sub")


def by_rclone(webdav: str, directory: str, file: Path, home: Path) -> None:
    """Tell the story by rclone."""
    obscured = run("rclone", "obscure", local.password("alice")).strip()
    environ = {
        "HOME": str(home),
        "RCLONE_CONFIG_DOOR_TYPE": "webdav",
        "RCLONE_CONFIG_DOOR_URL": webdav,
        "RCLONE_CONFIG_DOOR_VENDOR": "other",
        "RCLONE_CONFIG_DOOR_USER": "alice",
        "RCLONE_CONFIG_DOOR_PASS": obscured,
    }
    there = f"door:{directory}"
    for words in (
        ("copyto", str(file), f"{there}/one.dat"),
        ("cat", f"{there}/one.dat"),
        ("moveto", f"{there}/one.dat", f"{there}/two.dat"),
        ("deletefile", f"{there}/two.dat"),
        ("mkdir", f"{there}/sub"),
        ("rmdir", f"{there}/sub"),
    ):
        run("rclone", *words, environ=environ)


def by_cadaver(webdav: str, directory: str, file: Path, home: Path) -> None:
    """Tell the story by cadaver."""
    netrc = home / ".netrc"
    netrc.write_text(f"machine 127.0.0.1\nlogin alice\npassword {local.password('alice')}\n")
    netrc.chmod(0o600)
    script = (
        f"put {file} one.dat\nget one.dat {home}/got\nmove one.dat two.dat\ndelete two.dat\n"
        "mkcol sub\nrmcol sub\nquit\n"
    )
    run("cadaver", f"{webdav}{directory}/", environ={"HOME": str(home)}, script=script)
    assert (home / "got").read_bytes() == file.read_bytes()


@pytest.mark.parametrize("client", [by_curl, by_rclone, by_cadaver])
def test_a_writer_from_outside_is_told_exactly(
    client: Callable[[str, str, Path, Path], None],
    stack: Stack,
    directory: str,
    listener: Callable[..., Listener],
    tmp_path: Path,
) -> None:
    """httpx-sse receives the events of the table in the architecture, in order, and no others."""
    ear = listener()
    assert ear.watch(directory).status_code == 201
    ear.start()
    file = tmp_path / "file"
    file.write_bytes(b"ten bytes\n")
    client(stack.webdav_url, directory, file, tmp_path)
    ear.wait(lambda: len(ear.heard) >= len(STORY), timeout_s=60)
    assert [(heard.flag, heard.name) for heard in ear.heard] == STORY
    cookies = [heard.event.get("cookie") for heard in ear.heard if "MOVED" in heard.flag]
    assert len(set(cookies)) == 1
    assert all(cookies)


def test_curl_listens(stack: Stack, directory: str, tmp_path: Path) -> None:
    """Curl alone makes a channel, subscribes, listens and reads what happened."""
    api = f"{stack.api_urls[0]}/api/v1/events"
    curl = ("curl", "-fsS", "-u", LOGIN)
    made = run(*curl, "-D", "-", "-o", "/dev/null", "-X", "POST", f"{api}/channels")
    channel = next(line.split()[1] for line in made.splitlines() if line.startswith("Location: "))
    json_body = ("-H", "Content-Type: application/json", "-d", json.dumps({"path": directory}))
    run(*curl, "-o", "/dev/null", *json_body, f"{channel}/subscriptions/inotify")
    heard = tmp_path / "heard"
    accept = ("-H", "Accept: text/event-stream")
    with heard.open("wb") as file:
        reader = subprocess.Popen([*curl, "-N", *accept, channel], stdout=file)
    try:
        source = tmp_path / "file"
        source.write_bytes(b"ten bytes\n")
        by_curl(stack.webdav_url, directory, source, tmp_path)
        assert wait_until(lambda: len(events_in(heard)) >= len(STORY), timeout_s=60)
    finally:
        reader.kill()
        reader.wait()
    assert events_in(heard) == STORY


def events_in(stream: Path) -> list[tuple[str, str]]:
    """Read what a stream has so far, by the rules of SSE only."""
    found = []
    for block in stream.read_text().split("\n\n")[:-1]:
        lines = [line for line in block.split("\n") if line and not line.startswith(":")]
        fields = dict(line.split(": ", 1) for line in lines)
        if fields.get("event") == "inotify":
            event = json.loads(fields["data"])["event"]
            found.append((",".join(event["mask"]), event["name"]))
    return found


def test_a_burst_of_small_files_arrives_whole(
    stack: Stack, directory: str, listener: Callable[..., Listener], tmp_path: Path
) -> None:
    """Rclone copies 100 files four at a time: each file's events in order, each once."""
    ear = listener()
    assert ear.watch(directory).status_code == 201
    ear.start()
    source = tmp_path / "many"
    source.mkdir()
    names = [f"file-{number:03}.dat" for number in range(100)]
    for name in names:
        (source / name).write_text(name)
    obscured = run("rclone", "obscure", local.password("alice")).strip()
    remote = (
        f":webdav,vendor=other,user=alice,pass={obscured},url='{stack.webdav_url}':{directory}"
    )
    run("rclone", "copy", str(source), remote, environ={"HOME": str(tmp_path)})
    assert ear.wait(lambda: len(ear.heard) >= len(names) * len(UPLOAD), timeout_s=60)
    for name in names:
        assert [heard.flag for heard in ear.heard if heard.name == name] == list(UPLOAD)
    assert len(ear.heard) == len(names) * len(UPLOAD)
