"""Where third-party copies may go, and which headers may go with them."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from schemas.errors import BadRecord, Refused, Unavailable
from storage_sim.doors.remote import Gate, parse, transfer_headers


def resolving(*addresses: str) -> Any:
    return lambda host, port, **_: [
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses
    ]


@pytest.mark.parametrize(
    ("address", "is_allowed"),
    [
        ("10.1.2.3", True),
        ("10.2.0.1", False),
        ("127.0.0.1", False),
        ("169.254.169.254", False),
        ("::ffff:10.1.2.3", True),
        ("::ffff:127.0.0.1", False),
        ("2001:db8::1", True),
        ("fe80::1%eth0", False),
        ("::1", False),
    ],
)
def test_only_named_networks_are_connected_to(address: str, is_allowed: bool) -> None:
    gate = Gate(("10.1.0.0/16", "2001:db8::/32"), resolve=resolving(address))
    if is_allowed:
        assert gate.address("host", 443) == (address, 443)
    else:
        with pytest.raises(Refused, match="with host are not allowed"):
            gate.address("host", 443)


def test_of_several_addresses_an_allowed_one_is_taken_and_connected_to() -> None:
    """The name is not asked again: what was checked is what is connected to."""
    gate = Gate(("10.0.0.0/8",), resolve=resolving("127.0.0.1", "10.0.0.9"))
    assert gate.address("host", 80) == ("10.0.0.9", 80)


def test_without_a_setting_nowhere_is_allowed() -> None:
    with pytest.raises(Refused):
        Gate(resolve=resolving("127.0.0.1")).address("localhost", 80)


def test_an_unknown_name_may_be_known_later() -> None:
    def unknown(*_: object, **__: object) -> Any:
        raise socket.gaierror(-2, "Name or service not known")

    with pytest.raises(Unavailable, match="Name or service not known"):
        Gate(("0.0.0.0/0",), resolve=unknown).address("host", 80)


@pytest.mark.parametrize(
    "url",
    [
        "", "/data/f", "ftp://h/f", "file:///etc/passwd", "http://", "http:///f", "gopher://h/",
        "http://u:p@h/f", "http://h/f#x", "http://h:port/f", "http://h/a b", "http://h/a\nb",
        "http://[::1/f",
    ],
)  # fmt: skip
def test_what_is_no_url_of_a_file_is_refused(url: str) -> None:
    with pytest.raises(BadRecord, match="bad URI"):
        parse(url)


def test_dav_urls_are_http_urls() -> None:
    assert parse("davs://h:1/f?authz=x").geturl() == "https://h:1/f?authz=x"
    assert parse("dav://[::1]:80/f").hostname == "::1"


def test_transfer_headers_are_sent_on_without_their_prefix() -> None:
    environ = {
        "HTTP_TRANSFERHEADERAUTHORIZATION": "Bearer x",
        "HTTP_TRANSFERHEADERX_TEST": "1",
        "HTTP_AUTHORIZATION": "Bearer ours",
    }
    assert transfer_headers(environ) == {"Authorization": "Bearer x", "X-Test": "1"}


@pytest.mark.parametrize("name", ["HOST", "CONTENT_LENGTH", "TRANSFER_ENCODING", "RANGE", ""])
def test_headers_that_steer_the_connection_cannot_be_given(name: str) -> None:
    with pytest.raises(BadRecord, match="cannot be given"):
        transfer_headers({f"HTTP_TRANSFERHEADER{name}": "x"})
