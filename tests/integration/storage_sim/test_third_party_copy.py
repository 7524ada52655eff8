"""Third-party copies between two real storages, asked for by real clients."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from tests.sites import Site

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CONTENT = os.urandom(3 << 20)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, Site]]:
    folder = tmp_path_factory.mktemp("sites")
    a, b = Site(folder, "a"), Site(folder, "b")
    yield a, b
    a.close()
    b.close()


@pytest.fixture
def sites(running: tuple[Site, Site]) -> tuple[Site, Site]:
    """Two storages, the first with a file."""
    a, b = running
    a.begin()
    b.begin()
    a.put("/data/f", CONTENT)
    return a, b


def copy(site: Site, path: str, **headers: str) -> tuple[int, list[str]]:
    """Ask a door for a copy; return the status and the answer's lines."""
    answer = site.ask("COPY", path, headers={k.replace("_", "-"): v for k, v in headers.items()})
    return answer.status_code, answer.text.splitlines()


def curl(*arguments: str) -> str:
    run = subprocess.run(
        ["curl", "--silent", "--show-error", "--no-buffer", "--max-time", "30", *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    return run.stdout


@pytest.fixture(params=["there", "back"])
def way(sites: tuple[Site, Site], request: pytest.FixtureRequest) -> tuple[Site, Site]:
    """Source, which has the file, and target: either storage is either."""
    if request.param == "there":
        return sites
    target, source = sites
    source.put("/data/f", CONTENT)
    return source, target


@pytest.mark.parametrize("is_pull", [True, False], ids=["pull", "push"])
def test_curl_copies_with_macaroons(way: tuple[Site, Site], is_pull: bool) -> None:
    a, b = way
    source = a.macaroon("/data/f", "activity:DOWNLOAD")
    target = b.macaroon("/data/g", "activity:UPLOAD")
    door, other = (b, a) if is_pull else (a, b)
    here, there = (target, source) if is_pull else (source, f"{b.macaroon('/data/g')}")
    path, remote = ("/data/g", "/data/f") if is_pull else ("/data/f", "/data/g")
    said = curl(
        "--include",
        "--request", "COPY",
        "--header", f"Authorization: Bearer {here}",
        "--header", f"{'Source' if is_pull else 'Destination'}: {other.url}{remote}",
        "--header", f"TransferHeaderAuthorization: Bearer {there}",
        "--header", "Credential: none",
        "--header", "RequireChecksumVerification: true",
        door.url + path,
    )  # fmt: skip
    assert said.startswith("HTTP/1.1 202 Accepted")
    assert "Perf Marker\n    Timestamp: " in said
    assert said.endswith("success: Created\n")
    assert b.get("/data/g") == CONTENT
    assert ("http-tpc", "UPLOAD" if is_pull else "READ") in {
        (record["protocol"], record["kind"]) for record in door.billed()
    }


@pytest.mark.e2e
@pytest.mark.programs("davix-cp")
@pytest.mark.parametrize("mode", ["pull", "push"])
def test_davix_copies_with_macaroons(way: tuple[Site, Site], mode: str) -> None:
    a, b = way
    run = subprocess.run(
        [
            "davix-cp", "--copy-mode", mode,
            "-H", f"Authorization: Bearer {(b if mode == 'pull' else a).macaroon()}",
            "-H", f"TransferHeaderAuthorization: Bearer {(a if mode == 'pull' else b).macaroon()}",
            f"{a.url}/data/f", f"{b.url}/data/g",
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    assert b.get("/data/g") == CONTENT


def test_the_url_form_of_a_macaroon_works_for_the_other_side(sites: tuple[Site, Site]) -> None:
    a, b = sites
    source = f"{a.url}/data/f?authz={a.macaroon('/data/f', 'activity:DOWNLOAD')}"
    assert copy(b, "/data/g", Source=source)[1][-1] == "success: Created"


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/data/g", {"Source": "http://{a}/data/f", "Destination": "http://x/"}, 400),
        ("/data/g", {"Credential": "none"}, 400),
        ("/data/g", {"Source": "ftp://{a}/f"}, 400),
        ("/data/g", {"Source": "http://user@{a}/f"}, 400),
        ("/data/g", {"Source": "http://{a}:x/f"}, 400),
        ("/data/g", {"Source": "http://{a}/f", "Credential": "gridsite"}, 400),
        ("/data/g", {"Source": "http://{a}/f", "TransferHeaderHost": "x"}, 400),
        ("/data/missing/g", {"Source": "http://{a}/data/f"}, 400),
        ("/data", {"Source": "http://{a}/data/f"}, 400),
        ("/data/exists", {"Source": "http://{a}/data/f", "Overwrite": "F"}, 412),
        ("/home/bob/g", {"Source": "http://{a}/data/f"}, 400),
        ("/data/absent", {"Destination": "http://{a}/data/g"}, 404),
        ("/data/g", {"Source": "http://192.0.2.1/f"}, 403),
        ("/data/g", {"Source": "http://no-such-host.invalid/f"}, 503),
    ],
)
def test_what_can_be_known_before_is_said_by_the_status(
    sites: tuple[Site, Site], path: str, headers: dict[str, str], status: int
) -> None:
    a, b = sites
    b.put("/data/exists", b"old")
    filled = {k: v.replace("{a}", f"127.0.0.1:{a.port}") for k, v in headers.items()}
    answer = b.ask("COPY", path, headers=filled)
    assert answer.status_code == status, answer.text
    assert "Traceback" not in answer.text
    assert b.get("/data/exists") == b"old"


@pytest.mark.parametrize(
    ("path", "caveats"),
    [
        ("/data/f", ["activity:LIST"]),
        ("/data/other", ["activity:DOWNLOAD"]),
        ("/data/f", ["activity:DOWNLOAD", "ip:192.0.2.1"]),
    ],
)
def test_a_macaroon_for_something_else_moves_nothing(
    sites: tuple[Site, Site], path: str, caveats: list[str]
) -> None:
    a, b = sites
    token = a.macaroon(path, *caveats)
    _, lines = copy(
        b,
        "/data/g",
        Source=f"{a.url}/data/f",
        TransferHeaderAuthorization=f"Bearer {token}",
    )
    assert lines[-1].startswith("failure: Remote side failed with status code 4")
    assert b.get("/data/g") is None


def test_an_upload_macaroon_cannot_be_used_for_another_file(sites: tuple[Site, Site]) -> None:
    a, b = sites
    source = f"{a.url}/data/f?authz={a.macaroon()}"
    for path, caveat in (("/data/g", "activity:DOWNLOAD"), ("/data/x", "activity:UPLOAD")):
        token = b.macaroon(path, caveat)
        answer = b.ask(
            "COPY",
            "/data/g",
            auth=None,
            headers={"Authorization": f"Bearer {token}", "Source": source},
        )
        assert answer.status_code in (400, 403, 404)
    assert b.get("/data/g") is None


def test_a_copy_inside_the_door_is_still_webdavs(sites: tuple[Site, Site]) -> None:
    a, _ = sites
    answer = a.ask("COPY", "/data/f", headers={"Destination": f"{a.url}/data/twin"})
    assert answer.status_code == 201
    assert a.get("/data/twin") == CONTENT


def test_overwriting_is_allowed_unless_forbidden(sites: tuple[Site, Site]) -> None:
    a, b = sites
    b.put("/data/g", b"old")
    source = f"{a.url}/data/f?authz={a.macaroon()}"
    assert copy(b, "/data/g", Source=source, Overwrite="F")[0] == 412
    assert copy(b, "/data/g", Source=source, Overwrite="T")[1][-1] == "success: Created"
    assert b.get("/data/g") == CONTENT


class Other(BaseHTTPRequestHandler):
    """A server that is not what it should be."""

    protocol_version = "HTTP/1.1"
    mode = ""
    going = threading.Event()

    def do_GET(self) -> None:
        if self.mode == "redirect":
            self._end(302, {"Location": "http://192.0.2.1/f", "Content-Length": "0"})
        elif self.mode == "redirect inside":
            self._end(302, {"Location": "http://localhost:1/f", "Content-Length": "0"})
        elif self.mode == "short":
            self._end(200, {"Content-Length": "100", "Connection": "close"})
            self.wfile.write(b"only this")
            self.close_connection = True
        elif self.mode == "wrong":
            self._end(200, {"Content-Length": "3", "Digest": "adler32=00000001"})
            self.wfile.write(b"abc")
        elif self.mode == "none":
            self._end(200, {"Content-Length": "3"})
            self.wfile.write(b"abc")
        elif self.mode == "500":
            self._end(500, {"Content-Length": "0"})
        elif self.mode == "slow":
            self._end(200, {"Content-Length": "100"})
            self.wfile.write(b"begin")
            self.wfile.flush()
            self.going.set()
            self.connection.recv(1)  # ends when the door closes
            self.close_connection = True

    def do_HEAD(self) -> None:
        self._end(200, {"Content-Length": "3"})

    def _end(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def other(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(Other, "going", threading.Event())
    server = ThreadingHTTPServer(("127.0.0.1", 0), Other)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/f"
    server.shutdown()


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        ("redirect", "redirects to elsewhere"),
        ("redirect inside", "redirects to elsewhere"),
        ("short", "ended too early"),
        ("wrong", "checksums of source and destination differ"),
        ("none", "no checksum to compare with"),
        ("500", "status code 500"),
    ],
)
def test_a_failed_pull_leaves_nothing_and_says_why(
    sites: tuple[Site, Site], other: str, mode: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Other, "mode", mode)
    _, b = sites
    b.put("/data/old", b"old")
    for path in ("/data/g", "/data/old"):
        status, lines = copy(b, path, Source=other)
        assert (status, lines[-1].split(":")[0]) == (202, "failure")
        assert reason in lines[-1]
    assert b.get("/data/g") is None
    assert b.get("/data/old") == b"old"
    failed = [record for record in b.billed() if record["status_code"] != 0]
    assert {record["kind"] for record in failed} == {"UPLOAD"}


def test_without_a_checksum_it_is_taken_when_that_is_asked_for(
    sites: tuple[Site, Site], other: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Other, "mode", "none")
    _, b = sites
    _, lines = copy(b, "/data/g", Source=other, RequireChecksumVerification="false")
    assert lines[-1] == "success: Created"
    assert b.get("/data/g") == b"abc"


def test_a_client_that_goes_away_ends_the_transfer(
    sites: tuple[Site, Site], other: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Other, "mode", "slow")
    _, b = sites
    token = b.macaroon()
    client = socket.create_connection(("127.0.0.1", b.port))
    client.sendall(
        f"COPY /data/g HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
        f"Source: {other}\r\n\r\n".encode()
    )
    assert client.recv(1 << 16).startswith(b"HTTP/1.1 202 Accepted")
    assert Other.going.wait(10)
    client.close()
    ended = threading.Event()
    watcher = threading.Thread(target=_wait_for_failure, args=(b, ended))
    watcher.start()
    assert ended.wait(30)
    assert b.get("/data/g") is None


def _wait_for_failure(site: Site, ended: threading.Event) -> None:
    pause = threading.Event()
    while not any(record["status_code"] for record in site.billed()):
        pause.wait(0.1)
    ended.set()


def test_nowhere_is_allowed_unless_a_setting_says_so(tmp_path: Path) -> None:
    site = Site(tmp_path, "c", copy_networks=())
    try:
        answer = site.ask("COPY", "/data/g", headers={"Source": f"{site.url}/data/f"})
        assert answer.status_code == 403
        assert "not allowed" in answer.text
    finally:
        site.close()


def test_digests_are_told_where_they_are_wanted(sites: tuple[Site, Site]) -> None:
    a, _ = sites
    adler = f"adler32={zlib.adler32(CONTENT):08x}"
    for method in ("GET", "HEAD"):
        answer = a.ask(method, "/data/f", headers={"Want-Digest": "adler32"})
        assert answer.headers["Digest"] == adler
        assert "Digest" not in a.ask(method, "/data/f").headers
    answer = a.ask("PUT", "/data/f", content=b"abc", headers={"Want-Digest": "md5"})
    assert answer.headers["Digest"] == "md5=kAFQmDzST7DWlj99KOF/cg=="
    answer = a.ask("GET", "/data/f", headers={"Want-Repr-Digest": "sha-256=1"})
    assert answer.headers["Repr-Digest"].startswith("sha-256=:ungWv48Bz")


def test_one_macaroon_in_the_url_opens_the_door(sites: tuple[Site, Site]) -> None:
    a, _ = sites
    token = a.macaroon("/data/f", "activity:DOWNLOAD")
    assert a.ask("GET", f"/data/f?authz={token}", auth=None).content == CONTENT
    assert a.ask("PUT", f"/data/f?authz={token}", auth=None, content=b"x").status_code == 403
    assert a.ask("DELETE", f"/data/f?authz={token}", auth=None).status_code == 403
    assert a.ask("GET", f"/data/exp?authz={token}", auth=None).status_code in (403, 404)
    assert a.ask("GET", f"/data/f?authz={token}").status_code == 401
    assert a.ask("GET", f"/data/f?authz={token[:-4]}", auth=None).status_code == 401
