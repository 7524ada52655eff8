"""What attackers try at the API's edge, each with its clean refusal, over a real socket."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import ssl
import statistics
import time
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from tests import services
from tests.api_site import ApiSite
from tests.wire import Answer, Stream, basic, call, connect, exchange, request

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.stack

SMALL = {
    "STORAGE_EVENTS_API_CHANNELS_PER_USER": "20",
    "STORAGE_EVENTS_API_SUBSCRIPTIONS_PER_CHANNEL": "5",
    "STORAGE_EVENTS_API_CONNECTIONS_PER_USER": "4",
    "STORAGE_EVENTS_API_CONNECTIONS_PER_ADDRESS": "30",
    "STORAGE_EVENTS_API_REQUESTS_PER_USER_S": "0",
    "STORAGE_EVENTS_API_REQUESTS_PER_ADDRESS_S": "0",
    "STORAGE_EVENTS_API_HEAD_TIMEOUT_S": "1.5",
    "STORAGE_EVENTS_API_BODY_TIMEOUT_S": "1.5",
    "STORAGE_EVENTS_API_HEAD_BYTES": "16384",
    "STORAGE_EVENTS_API_SELECTOR_BYTES": "8192",
    "STORAGE_EVENTS_API_ALLOWED_ORIGINS": "https://portal.example.org",
    "STORAGE_EVENTS_API_FREE_LOGIN_FAILURES": "3",
}


@pytest.fixture(scope="module")
def site(kafka_bootstrap: str, redis_url: str) -> Iterator[ApiSite]:
    """Give a site whose limits are low enough to be reached."""
    with services.run_directory("attacks") as run:
        started = ApiSite(
            run,
            kafka_bootstrap,
            redis_url,
            prefix=f"attacks-{uuid.uuid4().hex[:8]}-",
            settings=SMALL,
        )
        try:
            started.up()
            yield started
        finally:
            started.down()


@pytest.fixture(scope="module")
def url(site: ApiSite) -> str:
    """Give the node's address."""
    return site.urls[0]


@pytest.fixture
def channel(url: str) -> Iterator[str]:
    """Give a channel of alice's."""
    made = call("POST", f"{url}/api/v1/events/channels").one("Location")
    yield made
    call("DELETE", made)


def _subscribe(channel: str, path: str, **more: Any) -> Answer:
    return call("POST", f"{channel}/subscriptions/inotify", content={"path": path, **more})


def _is_alive(url: str) -> bool:
    return call("GET", f"{url}/health/live", None).status == 200


# paths


@pytest.mark.parametrize(
    "path",
    ["/data/../home/bob", "/../../home/bob", "/data/exp/../../home/bob/", "//home//bob",
     "home/bob", "/home/./bob", "/home/bob/.", "/home/bob/../bob", "/home/%62ob",
     "/home/bob\u0000",
     "/home/bob\n", "/home/b\u200bob", "/home/ｂｏｂ", "/home/bob%2F", "\\home\\bob", "/HOME/BOB"],
)  # fmt: skip
def test_no_spelling_of_a_path_opens_what_is_closed(channel: str, path: str) -> None:
    """400 with the words for what is not there, or for what is no path."""
    answer = _subscribe(channel, path)
    assert answer.status == 400
    assert answer.detail.startswith(("Not found: Problem with path", "Bad selector"))


@pytest.mark.parametrize(
    "raw",
    ["/api/v1/namespace/home/bob/secret", "/api/v1/namespace/data/..%2F..%2Fhome%2Fbob%2Fsecret",
     "/api/v1/namespace/%2e%2e/%2e%2e/home/bob/secret", "/api/v1/namespace//home/bob//secret",
     "/api/v1/namespace/home/bob/secret%00", "/api/v1/namespace/home%252Fbob"],
)  # fmt: skip
def test_nor_does_one_in_a_url(url: str, raw: str) -> None:
    """Passed through to the storage, which says 404."""
    assert call("GET", url, target=raw).status in {400, 404}


@pytest.mark.parametrize(
    "target",
    ["http://evil.example/api/v1/user", "//evil.example/api/v1/user", "/api/v1/user/../../../x",
     "/api/v1/namespace/../../metrics", "/api/v1/tape/..%2f..%2f..%2fmetrics"],
)  # fmt: skip
def test_requests_stay_with_our_storage_and_below_their_prefix(url: str, target: str) -> None:
    """No absolute URL, no way out of what is passed on."""
    answer = call("GET", url, target=target)
    assert answer.status in {200, 400, 404}
    if answer.status == 200:
        assert answer.json["username"] == "alice"
    assert b"storage_outbox" not in answer.body


def test_a_symlink_does_not_lead_out_of_a_macaroons_path(site: ApiSite, url: str) -> None:
    """What it leads to is looked at, not what it is called."""
    with site.webdav() as door:
        made = door.post(
            "/data/exp",
            headers={"Content-Type": "application/macaroon-request"},
            json={"caveats": ["activity:LIST,DOWNLOAD,READ_METADATA"], "validity": "PT10M"},
        )
    bearer = {"Authorization": f"Bearer {made.json()['macaroon']}"}
    mine = exchange(url, request("POST", f"{url}/api/v1/events/channels", bearer, b""))
    goal = f"{mine.one('Location')}/subscriptions/inotify"
    headers = {**bearer, "Content-Type": "application/json"}
    for path in ("/home/alice", "/data", "/", "/data/exp/../../home/alice"):
        body = json.dumps({"path": path}).encode()
        answer = exchange(url, request("POST", goal, headers, body))
        # parents of what is visible may be listed, and tell only what leads there
        assert answer.status == (400 if "alice" in path else 201), (path, answer)


# identities


def test_ids_of_others_open_nothing(url: str, channel: str) -> None:
    """Not the channel, not its subscriptions, not its stream."""
    assert _subscribe(channel, "/data").status == 201
    for suffix in ("", "/subscriptions"):
        assert call("GET", channel + suffix, "bob").status == 403
    answer = call("GET", channel, "bob", headers={"Accept": "text/event-stream"})
    assert answer.status == 403
    assert call("GET", f"{url}/api/v1/events/channels", "bob").json == []


def test_the_service_key_cannot_be_guessed_or_passed_in(site: ApiSite, url: str) -> None:
    """Positions would count other people's activity."""
    for key in ("a key of both", "x", ""):
        answer = call("GET", f"{url}/api/v1/namespace/data", headers={"Storage-Events-Key": key})
        assert answer.status == 200
        assert "watch" not in answer.json
    direct = call(
        "GET", f"{site.rest_url}/api/v1/namespace/data", headers={"Storage-Events-Key": "x"}
    )
    assert "watch" not in direct.json


def test_forwarded_headers_of_strangers_are_not_believed(site: ApiSite, url: str) -> None:
    """Neither for the audit nor for URLs."""
    headers = {
        "X-Forwarded-For": "203.0.113.77",
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Proto": "https",
        "Forwarded": "for=203.0.113.77;host=evil.example",
    }
    made = call("POST", f"{url}/api/v1/events/channels", headers=headers)
    assert made.one("Location").startswith(url)
    call("DELETE", made.one("Location"))
    assert "203.0.113.77" not in site.log()


@pytest.mark.parametrize(
    "host", ["", "evil.example/x?", "a b", "evil@example", "x\x7f", "<script>", "a" * 300 + "/"]
)
def test_a_host_that_is_none_gets_into_no_location(url: str, host: str) -> None:
    """400."""
    data = request("POST", f"{url}/api/v1/events/channels", basic("alice"), b"")
    data = re.sub(rb"Host: [^\r]*", b"Host: " + host.encode(), data)
    assert exchange(url, data).status == 400


def test_a_last_event_id_of_another_channel_says_nothing(
    site: ApiSite, url: str, channel: str
) -> None:
    """It is as if absent; so is a changed one."""
    other = call("POST", f"{url}/api/v1/events/channels").one("Location")
    for one in (channel, other):
        assert _subscribe(one, "/data/exp", flags=["IN_CREATE"]).status == 201
    with site.webdav() as door:
        door.request("MKCOL", f"/data/exp/{uuid.uuid4().hex}").raise_for_status()
    with Stream(other) as stream:
        identity = stream.until(1)[0].id or ""
    for forged in (identity, str(int(identity) ^ 1), identity[:-1], identity * 2):
        made = call("POST", f"{url}/api/v1/events/channels").one("Location")
        with Stream(made, headers={"Last-Event-ID": forged}) as stream:
            stream.read(0.3)
            assert stream.events == []
        call("DELETE", made)
    with Stream(channel, headers={"Last-Event-ID": identity}) as stream:
        assert stream.until(1)[0].kind == "inotify"
    call("DELETE", other)


def test_guessing_is_slowed_down_for_the_guesser_only(site: ApiSite, url: str) -> None:
    """429 with the limit's name; the right password waits, too; others do not."""
    goal = f"{url}/api/v1/events/eventTypes"
    statuses = [
        exchange(url, request("GET", goal, basic("carol", f"guess {number}"))).status
        for number in range(6)
    ]
    assert statuses[:3] == [401] * 3
    assert statuses[-1] == 429
    refused = call("GET", goal, "carol")
    assert refused.status == 429
    assert refused.json["limit"] == "login-failures"
    assert int(refused.one("Retry-After")) >= 1
    assert call("GET", goal, "alice").status == 200
    assert call("GET", f"{url}/api/v1/user", "carol").status == 429
    assert "guess" not in site.log()


def test_tokens_and_passwords_are_in_no_log(site: ApiSite, url: str) -> None:
    """Whether in a header or in the query."""
    call("GET", f"{url}/api/v1/events/channels?authz=MDAsecrettoken", None)
    call("GET", f"{url}/api/v1/user?authz=MDAsecrettoken", None)
    call("GET", f"{url}/nope?authz=MDAsecrettoken", None)
    log = site.log()
    assert "MDAsecrettoken" not in log
    assert "alice-demo" not in log
    assert basic("alice")["Authorization"][6:] not in log


# size and number


def test_a_selector_that_is_too_long_names_its_limit(channel: str) -> None:
    """413."""
    answer = _subscribe(channel, "/data", include=["x" * 1000] * 9)
    assert (answer.status, answer.json["limit"]) == (413, "selector-bytes")


@pytest.mark.parametrize(
    "body",
    [b"[" * 8000, b'{"path":' * 1000, b'{"path":"/","x":' + b"9" * 6000 + b"}", b"1e999999",
     b'{"path":"' + b"\\u0000" * 1000 + b'"}', b'{"path":1e400}', b"\x00" * 100],
)  # fmt: skip
def test_json_bombs_are_bad_requests(channel: str, body: bytes) -> None:
    """Depth, long numbers, infinities: a sentence, at once."""
    began_s = time.monotonic()
    answer = call(
        "POST",
        f"{channel}/subscriptions/inotify",
        body=body,
        headers={"Content-Type": "application/json"},
    )
    assert answer.status == 400
    assert time.monotonic() - began_s < 2


def test_globs_that_explode_elsewhere_do_not_here(site: ApiSite, url: str, channel: str) -> None:
    """Matching takes time proportional to pattern and name."""
    pattern = "*a" * 200 + "b"
    assert _subscribe(channel, "/data/exp", include=[pattern] * 16).status == 201
    with site.webdav() as door:
        for number in range(5):
            door.request("MKCOL", f"/data/exp/{'a' * 240}{number}").raise_for_status()
    assert _is_alive(url)


def test_subscriptions_and_channels_have_an_end(url: str, channel: str) -> None:
    """429 with the limit's name."""
    answers = [
        call("POST", f"{channel}/subscriptions/metronome", content={"delay": 300})
        for _ in range(6)
    ]
    assert [one.status for one in answers] == [201] * 5 + [429]
    assert answers[-1].json["limit"] == "subscriptions-per-channel"
    made = [call("POST", f"{url}/api/v1/events/channels") for _ in range(25)]
    assert made[-1].json["limit"] == "channels-per-user"
    for one in made:
        if one.status == 201:
            call("DELETE", one.one("Location"))


def test_streams_of_a_user_have_an_end(url: str) -> None:
    """429 with the limit's name; hanging up makes room."""
    made = [call("POST", f"{url}/api/v1/events/channels").one("Location") for _ in range(5)]
    streams = [Stream(one) for one in made[:4]]
    with Stream(made[4]) as fifth:
        assert fifth.answer.status == 429
        while not fifth.is_at_end:
            fifth.read(5)
        assert json.loads(fifth.body)["limit"] == "connections-per-user"
    streams[0].close()
    deadline = time.monotonic() + 5
    status = 0
    while status != 200 and time.monotonic() < deadline:
        with Stream(made[4]) as again:
            status = again.answer.status
    assert status == 200
    for stream in streams:
        stream.close()
    for one in made:
        call("DELETE", one)


def test_connections_of_an_address_have_an_end(url: str) -> None:
    """Others than these are served again as soon as they are closed."""
    held = [connect(url) for _ in range(40)]
    refused = 0
    for one in held:
        one.settimeout(0.3)
        with contextlib.suppress(TimeoutError):
            refused += one.recv(12) == b"HTTP/1.1 429"
    assert refused >= 10
    for one in held:
        one.close()
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            if _is_alive(url):
                return
        except (OSError, ValueError, IndexError):
            time.sleep(0.05)
    raise AssertionError("not served any more")


# slowness


def _until_closed(sock: socket.socket, seconds: float) -> bytes:
    sock.settimeout(seconds)
    received = bytearray()
    while chunk := sock.recv(65536):
        received += chunk
    return bytes(received)


@pytest.mark.parametrize("start", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: a\r\nX: ", b"\r\n"])
def test_a_head_that_does_not_come_is_not_waited_for(url: str, start: bytes) -> None:
    """408 and the end of the connection."""
    with connect(url) as sock:
        sock.sendall(start)
        assert _until_closed(sock, 5).startswith(b"HTTP/1.1 408")


def test_a_head_that_drips_is_not_waited_for(url: str) -> None:
    """A byte now and then does not help."""
    with connect(url) as sock:
        began_s = time.monotonic()
        with contextlib.suppress(OSError):
            sock.sendall(b"GET / HTTP/1.1\r\nX: ")
            while time.monotonic() - began_s < 8:
                sock.sendall(b"a")
                time.sleep(0.1)
        assert time.monotonic() - began_s < 6


def test_a_head_without_an_end_is_cut(url: str) -> None:
    """431 long before it fills the memory."""
    with connect(url) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 5000)
        assert sock.recv(12) == b"HTTP/1.1 431"


def test_a_body_that_does_not_come_is_not_waited_for(url: str) -> None:
    """408, for what we read and for what is passed on."""
    for path in ("/api/v1/events/channels", "/api/v1/namespace/data/exp"):
        head = request("POST", url + path, {**basic("alice"), "Content-Type": "application/json"})
        with connect(url) as sock:
            sock.sendall(head[:-2] + b"Content-Length: 100\r\n\r\n{")
            assert _until_closed(sock, 8).startswith(b"HTTP/1.1 408"), path


# smuggling and injection


@pytest.mark.parametrize(
    "lines",
    [b"Content-Length: 5\r\nContent-Length: 6\r\n",
     b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", b"Content-Length: -1\r\n",
     b"Content-Length: 1e3\r\n", b"Transfer-Encoding: chunked, chunked\r\n", b"A B: c\r\n",
     b"X: a\x00b\r\n", b" folded: x\r\n"],
)  # fmt: skip
def test_ambiguous_requests_are_refused(url: str, lines: bytes) -> None:
    """Before anything is asked of anybody."""
    head = request("POST", f"{url}/api/v1/user", basic("alice"))[:-2]
    with connect(url) as sock:
        sock.sendall(head + lines + b"\r\nhello")
        sock.settimeout(5)
        status = sock.recv(12)
    assert status in {b"HTTP/1.1 400", b"HTTP/1.1 405", b"HTTP/1.1 408"}
    assert _is_alive(url)


def test_headers_cannot_be_injected_through_what_is_echoed(url: str, channel: str) -> None:
    """Paths and client-ids with line ends stay inside JSON."""
    answer = _subscribe(channel, "/x\r\nSet-Cookie: a=b")
    assert answer.all("Set-Cookie") == []
    assert answer.detail.endswith("/x\r\nSet-Cookie: a=b")
    target = "/api/v1/events/stream?watch=%0d%0aevent:%20SYSTEM%0d%0adata:%20x"
    answer = call("GET", url, target=target)
    assert (answer.status, answer.one("Content-Type")) == (400, "application/json")


def test_a_method_of_ones_own_and_an_upgrade_are_refused(url: str) -> None:
    """No websocket, no tunnel."""
    assert call("BREW", f"{url}/api/v1/events").status in {400, 405}
    assert call("CONNECT", url, target="evil.example:443").status in {400, 404, 405}
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Key": "x"}
    assert (
        b"101 "
        not in exchange(url, request("GET", f"{url}/api/v1/events", upgrade)).head.partition(
            b"\r\n"
        )[0]
    )


def test_counters_are_not_for_everybody(site: ApiSite, url: str) -> None:
    """Loopback by default; what is passed through never reaches the storage's own."""
    assert call("GET", f"{url}/metrics", None).status == 200
    assert call("GET", url, target="/api/v1/namespace/../../../metrics").status in {400, 404}
    assert site.webdav_url not in call("GET", f"{url}/metrics", None).body.decode()


# other sites' pages


def test_only_the_pages_that_are_named_may_read(url: str) -> None:
    """CORS, with Location exposed; no credentials of the browser's own."""
    ours = {"Origin": "https://portal.example.org"}
    answer = call("GET", f"{url}/api/v1/events/channels", headers=ours)
    assert answer.one("Access-Control-Allow-Origin") == ours["Origin"]
    assert "Location" in answer.one("Access-Control-Expose-Headers")
    assert answer.all("Access-Control-Allow-Credentials") == []
    theirs = {"Origin": "https://evil.example"}
    answer = call("GET", f"{url}/api/v1/events/channels", headers=theirs)
    assert answer.all("Access-Control-Allow-Origin") == []
    preflight = {
        "Access-Control-Request-Method": "PATCH",
        "Access-Control-Request-Headers": "authorization,content-type",
    }
    goal = f"{url}/api/v1/events/channels/x"
    assert call("OPTIONS", goal, None, headers={**ours, **preflight}).status == 200
    refused = call("OPTIONS", goal, None, headers={**theirs, **preflight})
    assert refused.all("Access-Control-Allow-Origin") == []


# what answers' times tell


def test_absent_and_forbidden_take_the_same_time(site: ApiSite, channel: str) -> None:
    """Medians within a tenth, asked in turns. (2,000 tries each in the long form.)"""
    with site.webdav("bob") as door:
        door.request("MKCOL", "/home/bob/secret")
    took: dict[str, list[float]] = {"/home/bob/secret": [], "/home/bob/absent": []}
    for number in range(400):
        for path, times in sorted(took.items(), reverse=bool(number % 2)):
            began_s = time.perf_counter()
            assert _subscribe(channel, path).status == 400
            times.append(time.perf_counter() - began_s)
    forbidden, absent = (statistics.median(times) for times in took.values())
    assert abs(forbidden - absent) < 0.1 * max(forbidden, absent), (forbidden, absent)


# transport


def test_tls(kafka_bootstrap: str, redis_url: str, tmp_path: Any) -> None:
    """By certificate and key; URLs are https; HTTP/2 is not offered (R1)."""
    certificate, key = _certificate(tmp_path)
    with services.run_directory("tls") as run:
        started = ApiSite(
            run,
            kafka_bootstrap,
            redis_url,
            prefix=f"tls-{uuid.uuid4().hex[:8]}-",
            settings={
                "STORAGE_EVENTS_API_TLS_CERTIFICATE": certificate,
                "STORAGE_EVENTS_API_TLS_KEY": key,
            },
        )
        try:
            started.storage.start()
            started.nodes[0].start()
            port = int(started.urls[0].rpartition(":")[2])
            answer = _over_tls(port, certificate)
        finally:
            started.down()
    assert answer.one("Location").startswith(f"https://localhost:{port}/")


def _certificate(folder: Any) -> tuple[str, str]:
    import datetime as dt

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(built.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return str(folder / "cert.pem"), str(folder / "key.pem")


def _over_tls(port: int, certificate: str) -> Answer:
    context = ssl.create_default_context(cafile=certificate)
    context.set_alpn_protocols(["h2", "http/1.1"])
    deadline = time.monotonic() + 30
    while True:
        try:
            plain = socket.create_connection(("127.0.0.1", port), timeout=5)
            break
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.1)
    with plain, context.wrap_socket(plain, server_hostname="localhost") as sock:
        assert sock.selected_alpn_protocol() != "h2"
        goal = f"https://localhost:{port}/api/v1/events/channels"
        sock.sendall(request("POST", goal, basic("alice"), b""))
        head, _, body = _until_closed(sock, 10).partition(b"\r\n\r\n")
    return Answer(head, body)
