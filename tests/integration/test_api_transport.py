"""TLS, and pages of other origins."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
import time
import uuid
from typing import Any

import pytest

from deploy.local import processes
from tests import services
from tests.api_site import ApiSite
from tests.wire import Answer, basic, call, connect, request

pytestmark = pytest.mark.stack


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


# the process


def test_a_node_that_is_asked_to_stop_ends_with_0(
    kafka_bootstrap: str, redis_url: str, redis_prefix: str
) -> None:
    """SIGTERM, with a connection that is idle and one in the middle of its head."""
    (port,) = processes.free_ports(1)
    environ = {
        **os.environ,
        "API_PORT": str(port),
        "KAFKA_BOOTSTRAP": kafka_bootstrap,
        "REDIS_URL": redis_url,
        "STORAGE_EVENTS_REDIS_PREFIX": redis_prefix,
    }
    command = [sys.executable, "-m", "api", "serve"]
    with subprocess.Popen(command, env=environ, stderr=subprocess.DEVNULL) as node:
        url = f"http://127.0.0.1:{port}"
        assert processes.wait_until(lambda: _answers(url), timeout_s=30)
        with connect(url) as idle, connect(url) as half:
            half.sendall(b"GET / HTTP/1.1\r\nHost")
            assert idle.fileno() >= 0
            node.terminate()
            assert node.wait(20) == 0


def _answers(url: str) -> bool:
    try:
        return call("GET", f"{url}/health/live", None).status == 200
    except OSError:
        return False


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
            started.storage_up()
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


def _until_closed(sock: socket.socket, seconds: float) -> bytes:
    sock.settimeout(seconds)
    received = bytearray()
    while chunk := sock.recv(65536):
        received += chunk
    return bytes(received)


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
