"""Client addresses and base URLs: forwarded headers count only from proxies that are trusted."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.datastructures import Headers

from api.origin import Origin, is_in, networks
from api.problems import Problem
from schemas.errors import SettingsError


def _scope(peer: str = "192.0.2.1", scheme: str = "http") -> Any:
    return {"type": "http", "client": (peer, 4711), "scheme": scheme}


FORWARDED = {
    "host": "inside:3880",
    "x-forwarded-for": "203.0.113.5, 198.51.100.7, 10.0.0.2",
    "x-forwarded-proto": "https",
    "x-forwarded-host": "events.example.org",
}


def test_a_stranger_cannot_choose_address_or_base_url() -> None:
    """Without a trusted proxy the headers are as if they were not there."""
    origin = Origin("", ())
    headers = Headers(FORWARDED)
    assert origin.address(_scope(), headers) == "192.0.2.1"
    assert origin.base_url(_scope(), headers) == "http://inside:3880"


def test_a_trusted_proxy_is_believed_up_to_the_last_stranger() -> None:
    """The nearest address that is not ours counts: what stands before it may be invented."""
    origin = Origin("", ("10.0.0.0/8",))
    headers = Headers(FORWARDED)
    assert origin.address(_scope("10.0.0.1"), headers) == "198.51.100.7"
    assert origin.base_url(_scope("10.0.0.1"), headers) == "https://events.example.org"
    assert origin.address(_scope("192.0.2.1"), headers) == "192.0.2.1"


@pytest.mark.parametrize("hop", ["<script>", "203.0.113.5:4711", "", "unknown"])
def test_rubbish_in_x_forwarded_for_is_nobodys_address(hop: str) -> None:
    """No text of a client gets into the audit, and nobody becomes the proxy by it."""
    origin = Origin("", ("127.0.0.1",))
    headers = Headers({"x-forwarded-for": hop})
    assert origin.address(_scope("127.0.0.1"), headers) == "unknown"
    assert not origin.is_private(_scope("127.0.0.1"), headers)
    assert origin.address(_scope("127.0.0.1"), Headers({})) == "127.0.0.1"
    assert origin.is_private(_scope("127.0.0.1"), Headers({}))


def test_a_configured_base_url_wins() -> None:
    """Whatever the request says."""
    origin = Origin("https://events.example.org/", ())
    assert origin.base_url(_scope(), Headers(FORWARDED)) == "https://events.example.org"


@pytest.mark.parametrize(
    "host", ["", "a b", "evil/..", "a@b", "h:99999999", "h\r\nLocation: x", "[::1", "é"]
)
def test_a_host_that_is_none_is_refused(host: str) -> None:
    """It would end up in Location and in events."""
    with pytest.raises(Problem):
        Origin("", ()).base_url(_scope(), Headers(raw=[(b"host", host.encode())]))


def test_two_hosts_are_refused() -> None:
    """Which of them counts would be a guess."""
    headers = Headers(raw=[(b"host", b"a"), (b"host", b"b")])
    with pytest.raises(Problem):
        Origin("", ()).base_url(_scope(), headers)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:3880", "[::1]:3880", "a_b.example.org"])
def test_hosts_as_clients_write_them_pass(host: str) -> None:
    """Names, addresses of both kinds, ports."""
    assert Origin("", ()).base_url(_scope(), Headers({"host": host})) == f"http://{host}"


def test_an_ipv4_client_on_an_ipv6_socket_is_the_ipv4_client() -> None:
    """::ffff:a.b.c.d is a.b.c.d."""
    assert is_in("::ffff:10.1.2.3", networks(["10.0.0.0/8"]))
    assert not is_in("unknown", networks(["0.0.0.0/0"]))


def test_a_bad_network_is_said_at_start() -> None:
    """A mistyped setting ends the process with a sentence."""
    with pytest.raises(SettingsError, match="neither an address"):
        networks(["10.0.0.0/99"])


def test_what_is_private() -> None:
    """TLS to us or to our proxy, or this machine; not what a stranger claims."""
    origin = Origin("", ("10.0.0.1",))
    https = Headers({"x-forwarded-proto": "https", "x-forwarded-for": "192.0.2.1"})
    assert origin.is_private(_scope("192.0.2.1", "https"), Headers({}))
    assert origin.is_private(_scope("127.0.0.1"), Headers({}))
    assert origin.is_private(_scope("10.0.0.1"), https)
    assert not origin.is_private(_scope("192.0.2.1"), https)
    assert not origin.is_private(_scope("10.0.0.1"), Headers({"x-forwarded-for": "192.0.2.1"}))
