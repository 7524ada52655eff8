"""Macaroons as bytes: only what was issued, or issued and attenuated, is let through."""

from __future__ import annotations

import base64
import subprocess

import pymacaroons
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.authz import macaroons
from schemas.errors import BadRecord, Refused

KEY = b"k" * 32
KEYS = {"secret01": KEY}.get
CAVEATS = ["id:1000;1000;paul", "before:2030-01-01T00:00:00Z", "path:/data"]
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=40)


def issued() -> str:
    return macaroons.mint(KEY, "secret01", "/data", CAVEATS)


def test_what_was_issued_is_verified_with_its_caveats_in_order() -> None:
    caveats = macaroons.verify(issued(), KEYS)
    assert caveats[0].startswith("iid:")
    assert caveats[1:] == CAVEATS


def test_each_has_an_iid_of_its_own() -> None:
    assert len({macaroons.verify(issued(), KEYS)[0] for _ in range(50)}) == 50


def test_attenuating_needs_no_key_and_appends() -> None:
    weaker = macaroons.attenuate(issued(), ["activity:DOWNLOAD", "path:/x"])
    assert macaroons.verify(weaker, KEYS)[-2:] == ["activity:DOWNLOAD", "path:/x"]
    assert macaroons.caveats_of(weaker)[1:] == [*CAVEATS, "activity:DOWNLOAD", "path:/x"]


@pytest.mark.parametrize("length", range(6))
def test_base64_decodes_what_was_issued(length: int) -> None:
    """ada and other shell clients look into a macaroon with `base64 -d` (rule R24)."""
    for _ in range(10):
        token = macaroons.mint(KEY, "secret01", "/" + "x" * length, CAVEATS)
        run = subprocess.run(
            ["base64", "-d"], check=False, input=token.encode(), capture_output=True
        )
        assert (run.returncode, run.stderr) == (0, b"")
        assert b"before:2030-01-01T00:00:00Z\n" in run.stdout


def test_the_format_is_version_1_packets() -> None:
    raw = base64.urlsafe_b64decode(issued())
    assert raw.startswith(b"0013location /data\n0018identifier secret01\n")


def test_another_key_an_unknown_key_and_another_identifier_are_refused_alike() -> None:
    foreign = [
        macaroons.mint(b"x" * 32, "secret01", "/data", CAVEATS),
        macaroons.mint(KEY, "secret02", "/data", CAVEATS),
    ]
    said = set()
    for token in [*foreign, "", "nonsense", issued()[:-4], issued() + "AAAA", "a.b.c"]:
        with pytest.raises(Refused) as refused:
            macaroons.verify(token, KEYS)
        said.add(str(refused.value))
    assert said == {"Invalid macaroon"}


def test_caveats_cut_off_or_exchanged_are_refused() -> None:
    token = pymacaroons.Macaroon.deserialize(
        macaroons.attenuate(issued(), ["path:/x", "activity:LIST"])
    )
    for change in (
        lambda c: c[:-1],
        lambda c: c[1:],
        lambda c: [*c[:-2], c[-1], c[-2]],
        lambda c: [],
    ):
        cut = token.copy()
        cut.caveats = change(cut.caveats)
        with pytest.raises(Refused):
            macaroons.verify(cut.serialize(), KEYS)


def test_a_third_party_caveat_is_refused() -> None:
    macaroon = pymacaroons.Macaroon(location="/", identifier="secret01", key=KEY)
    macaroon.add_first_party_caveat("iid:x")
    raw = base64.urlsafe_b64decode(macaroon.serialize() + "==")
    at = raw.index(b"signature ") - 4
    third = raw[:at] + b"000avid v\n" + b"0009cl l\n" + raw[at:]
    with pytest.raises(Refused):
        macaroons.verify(base64.urlsafe_b64encode(third).decode(), KEYS)


@pytest.mark.parametrize(
    "packet", [b"0000", b"0001", b"-001a b\n", b" 00aloc a\n", b"ffff", b"0x0a"]
)
def test_broken_lengths_are_refused_at_once(packet: bytes) -> None:
    """A length of zero or below it makes a careless reader go round for ever."""
    token = base64.urlsafe_b64encode(packet).decode()
    assert not macaroons.looks_like_macaroon(token)
    with pytest.raises(BadRecord):
        macaroons.attenuate(token, ["path:/"])


def test_a_jwt_does_not_look_like_a_macaroon() -> None:
    assert macaroons.looks_like_macaroon(issued())
    assert not macaroons.looks_like_macaroon("eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJwYXVsIn0.c2ln")


@settings(max_examples=300)
@given(further=st.lists(TEXT, max_size=6), at=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_one_changed_bit_anywhere_outside_the_location_is_refused(
    further: list[str], at: int, bit: int
) -> None:
    """The location is a hint and not signed; all else is."""
    token = macaroons.attenuate(issued(), further)
    assert macaroons.verify(token, KEYS)[4:] == further
    raw = bytearray(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    start = len(b"0013location /data\n")
    raw[start + at % (len(raw) - start)] ^= 1 << bit
    with pytest.raises(Refused):
        macaroons.verify(base64.urlsafe_b64encode(raw).decode(), KEYS)


@given(st.binary(max_size=200))
def test_no_bytes_whatever_break_the_reader(raw: bytes) -> None:
    with pytest.raises(Refused):
        macaroons.verify(base64.urlsafe_b64encode(raw).decode(), KEYS)


def test_attenuation_by_hand_is_what_the_library_does() -> None:
    token = issued()
    for caveats in ([], ["path:/x"], ["path:/å b", "before:2030-01-01T00:00:00Z", "x" * 5000]):
        by_library = pymacaroons.Macaroon.deserialize(token)
        for caveat in caveats:
            by_library.add_first_party_caveat(caveat)
        assert macaroons.attenuate(token, caveats) == by_library.serialize()


def test_a_caveat_too_long_for_a_packet_is_refused() -> None:
    with pytest.raises(BadRecord):
        macaroons.attenuate(issued(), ["x" * 70_000])
