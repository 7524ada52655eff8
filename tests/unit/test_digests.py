"""Checksums as HTTP writes them."""

from __future__ import annotations

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import digests


@pytest.mark.parametrize(
    ("header", "best"),
    [
        ("adler32", "adler32"),
        ("ADLER32", "adler32"),
        ("md5;q=0.3, sha-256;q=0.9", "sha-256"),
        ("sha;q=1, md5;q=0.1", "md5"),
        ("crc32c", None),
        ("md5;q=0", None),
        ("", None),
        (digests.WANT_ALL, "adler32"),
    ],
)
def test_the_algorithm_liked_best_is_used(header: str, best: str | None) -> None:
    assert digests.wanted(header) == best


@pytest.mark.parametrize(
    ("header", "best"),
    [("sha-256=10, md5=1", "sha-256"), ("md5=0", None), ("sha-512=9", None), ("", None)],
)
def test_rfc_9530_prefers_by_number(header: str, best: str | None) -> None:
    assert digests.wanted_repr(header) == best


def test_adler32_is_hex_and_md5_is_base64() -> None:
    md5 = hashlib.md5(b"x").hexdigest()
    assert digests.encode("adler32", "024d0127") == "adler32=024d0127"
    encoded = base64.b64encode(bytes.fromhex(md5)).decode()
    assert digests.encode("md5", md5) == f"md5={encoded}"
    assert digests.encode_repr("sha-256", "00ff") == "sha-256=:AP8=:"


@given(st.binary(max_size=50))
def test_what_is_written_is_read_again(content: bytes) -> None:
    md5, sha = hashlib.md5(content).hexdigest(), hashlib.sha256(content).hexdigest()
    header = f"{digests.encode('md5', md5)}, {digests.encode('sha-256', sha)}"
    assert digests.decode(header) == {"md5": md5, "sha256": sha}
    assert digests.decode(digests.encode_repr("sha-256", sha)) == {"sha256": sha}


def test_leading_zeros_and_capitals_do_not_matter_for_adler32() -> None:
    assert digests.decode("adler32=24D0127") == {"adler32": "024d0127"}


@pytest.mark.parametrize("header", ["", "md5", "md5=!!", "adler32=xyz", "crc=1", "=", ",,"])
def test_what_is_not_understood_is_left_out(header: str) -> None:
    assert digests.decode(header) == {}


def test_agreeing_needs_something_in_common() -> None:
    ours = digests.as_dict(["adler32:1", "md5:2", "nonsense"])
    assert digests.agree(ours, {"md5": "2"}) is True
    assert digests.agree(ours, {"md5": "2", "adler32": "3"}) is False
    assert digests.agree(ours, {"sha256": "2"}) is None
