"""The WebDAV door, by its real clients."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.integration.storage_doors import Doors, kinds, run

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.programs("litmus")
def test_litmus(doors: Doors, tmp_path: Path) -> None:
    """WebDAV's test suite passes whole: basic, copymove, props, locks, http."""
    said = run("litmus", f"{doors.url}/home/alice/", "alice", "alice-demo", folder=tmp_path)
    summaries = [line for line in said.splitlines() if "tests run" in line]
    assert len(summaries) == 5
    assert all("0 failed" in line for line in summaries), said


@pytest.mark.programs("rclone")
def test_rclone(doors: Doors, tmp_path: Path) -> None:
    """A tree goes up, is listed, compared and comes down again; a move is one rename."""
    up, down = tmp_path / "up", tmp_path / "down"
    (up / "d é").mkdir(parents=True)
    (up / "d é" / "f.bin").write_bytes(os.urandom(300_000))
    (up / "empty").write_bytes(b"")
    obscured = run("rclone", "obscure", "alice-demo", folder=tmp_path).strip()
    config = tmp_path / "rclone.conf"
    config.write_text(
        f"[dav]\ntype = webdav\nurl = {doors.url}\nvendor = other\nuser = alice\n"
        f"pass = {obscured}\n"
    )

    def rclone(*command: str) -> str:
        return run("rclone", "--config", str(config), *command, folder=tmp_path)

    rclone("copy", str(up), "dav:/data/exp/up")
    assert "d é/f.bin" in rclone("lsf", "-R", "dav:/data/exp/up")
    rclone("check", "--download", str(up), "dav:/data/exp/up")
    rclone("moveto", "dav:/data/exp/up/empty", "dav:/data/exp/up/moved")
    rclone("copy", "dav:/data/exp/up", str(down))
    assert (down / "d é" / "f.bin").read_bytes() == (up / "d é" / "f.bin").read_bytes()
    rclone("purge", "dav:/data/exp/up")
    records = doors.records()
    assert kinds(records, "/data/exp/up/moved")[0] == "RENAME"
    assert kinds(records, "/data/exp/up/d é/f.bin")[-1] == "DELETE"
    assert kinds(records, "/data/exp/up") == ["MKDIR", "RMDIR"]


@pytest.mark.programs("cadaver")
def test_cadaver(doors: Doors, tmp_path: Path) -> None:
    """The old command line client works."""
    (tmp_path / "f.txt").write_text("by cadaver\n")
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login alice password alice-demo\n")
    (tmp_path / ".netrc").chmod(0o600)
    script = (
        "mkcol d\nput f.txt\nmove f.txt d/g.txt\nget d/g.txt got.txt\nls d\ndelete d/g.txt\n"
        "rmcol d\nquit\n"
    )
    done = subprocess.run(
        ["cadaver", f"{doors.url}/home/alice/"],
        cwd=tmp_path,
        input=script,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "HOME": str(tmp_path)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "got.txt").read_text() == "by cadaver\n"
    told = [r["kind"] for r in doors.records() if r["path"].startswith("/home/alice/")]
    assert told == ["MKDIR", "CREATE", "UPLOAD", "RENAME", "READ", "DELETE", "RMDIR"]


def test_curl_streams_a_body_of_unknown_length(doors: Doors, tmp_path: Path) -> None:
    """A chunked upload is an upload like any other."""
    said = run(
        "curl", "-s", "-u", "alice:alice-demo", "-T", "-", "-w", "%{http_code}",
        "-H", "Transfer-Encoding: chunked", f"{doors.url}/data/exp/chunked",
        folder=tmp_path, stdin="x" * 200_000,
    )  # fmt: skip
    assert said.endswith("201")
    record = doors.records()[-1]
    assert (record["kind"], record["size_bytes"]) == ("UPLOAD", 200_000)
