from __future__ import annotations

import http.server
import json
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from pipeline.authz import caveats, tokens
from pipeline.authz.issuers import read_issuers
from pipeline.authz.principal import UNRESTRICTED
from schemas.errors import Refused, SettingsError, Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOW_S = 1_700_000_000
URL = "https://iam.example.org/"
RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
OTHER_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


@dataclass(frozen=True)
class Account:
    name: str
    uid: int
    gids: tuple[int, ...]
    home: str


ALICE = Account("alice", 1001, (1001,), "/home/alice")
ACCOUNTS = {"alice": ALICE}

FILE = f"""
[[issuers]]
issuer = "{URL}"
audience = ["https://storage.example.org"]
keys = "jwks.json"
base_path = "/data"
[issuers.users]
"sub-of-alice" = "alice"
[issuers.groups]
"/exp" = 2000
"""


def key_set() -> str:
    public = [
        {**json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(RSA_KEY.public_key())), "kid": "rsa"},
        {**json.loads(jwt.algorithms.ECAlgorithm.to_jwk(EC_KEY.public_key())), "kid": "ec"},
    ]
    return json.dumps({"keys": public})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "jwks.json").write_text(key_set())
    (tmp_path / "issuers.toml").write_text(FILE)
    return tmp_path


def token(
    key: Any = RSA_KEY, algorithm: str = "RS256", kid: str | None = "rsa", **changes: Any
) -> str:
    claims: dict[str, Any] = {
        "iss": URL,
        "aud": "https://storage.example.org",
        "sub": "sub-of-alice",
        "exp": NOW_S + 600,
        "nbf": NOW_S,
        **changes,
    }
    claims = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(claims, key, algorithm, headers={"kid": kid} if kid else {})


def read(folder: Path, text: str) -> Any:
    issuers = read_issuers(folder / "issuers.toml")
    return tokens.principal(text, issuers, ACCOUNTS.get, now_s=NOW_S)


def test_a_good_token_speaks_for_its_user(folder: Path) -> None:
    """Subject and groups are mapped, and the end is kept."""
    who = read(folder, token(**{"wlcg.groups": ["/exp", "/other"]}))
    assert (who.user, who.uid, who.gids, who.home) == ("alice", 1001, (1001, 2000), "/home/alice")
    assert who.restrictions == caveats.replace(
        UNRESTRICTED, expires_s=NOW_S + 600, groups=("/exp", "/other")
    )


def test_elliptic_curves_are_accepted(folder: Path) -> None:
    """ES256 is one of the two algorithms by default."""
    assert read(folder, token(EC_KEY, "ES256", "ec")).user == "alice"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"exp": NOW_S}, "expired"),
        ({"exp": None}, "not valid"),
        ({"exp": "tomorrow"}, "not a time"),
        ({"exp": 1e300}, "not a time"),
        ({"nbf": NOW_S + 60}, "not valid yet"),
        ({"aud": "https://else.example.org"}, "not for this service"),
        ({"aud": None}, "not valid"),
        ({"sub": None}, "not valid"),
        ({"sub": "sub-of-bob"}, "nobody here"),
        ({"key": OTHER_KEY}, "not valid"),
        ({"kid": "unheard"}, "key that its issuer does not have"),
        ({"kid": None}, "key that its issuer does not have"),
        ({"algorithm": "RS384"}, "not accepted"),
        ({"key": "s" * 64, "algorithm": "HS256"}, "not accepted"),
        ({"key": None, "algorithm": "none"}, "not accepted"),
        ({"scope": "storage.unheard:/x"}, "none of its scopes"),
        ({"scope": "storage.read"}, "none of its scopes"),
        ({"scope": "compute.create"}, "none of its scopes"),
        ({"ver": "scitoken:2.0"}, "none of its scopes"),
        ({"scope": "read"}, "none of its scopes"),
        ({"scope": "openid write:data"}, "none of its scopes"),
        ({"scp": ["storage.unheard:/x"]}, "none of its scopes"),
    ],
)
def test_what_is_not_right_is_refused(folder: Path, changes: dict[str, Any], why: str) -> None:
    """Each thing that can be wrong is refused, with a word about it and without the token."""
    text = token(**changes)
    with pytest.raises(Refused, match=why) as refused:
        read(folder, text)
    assert text not in str(refused.value)


def test_a_public_key_is_no_shared_secret(folder: Path) -> None:
    """The old trick of signing with HMAC and the issuer's public key does not work."""
    header, claims, _ = token().split(".")
    confused = jwt.api_jws.PyJWS().encode(b"{}", "k" * 64, "HS256")
    forged = f"{confused.split('.')[0]}.{claims}.{header}"
    with pytest.raises(Refused):
        read(folder, forged)


@pytest.mark.parametrize("text", ["", "MDAx", "a.b.c", "eyJhbGciOiJSUzI1NiJ9.x"])
def test_what_is_no_token_is_left_to_others(folder: Path, text: str) -> None:
    """A macaroon, say, is not ours to judge."""
    assert read(folder, text) is None


def test_a_strange_issuer_is_left_to_others(folder: Path) -> None:
    """A token of an issuer that we do not know is none that we judge."""
    assert read(folder, token(iss="https://evil.example.org/")) is None


def test_scopes_are_all_that_is_left(folder: Path) -> None:
    """With capabilities a token allows these paths and activities and nothing else."""
    who = read(folder, token(scope="openid storage.read:/exp storage.create:/exp/in"))
    may = who.restrictions
    assert caveats.may_act(may, "DOWNLOAD", "/data/exp/f")
    assert caveats.may_act(may, "LIST", "/data/exp")
    assert caveats.may_act(may, "UPLOAD", "/data/exp/in/f")
    assert not caveats.may_act(may, "UPLOAD", "/data/exp/f")
    assert not caveats.may_act(may, "DELETE", "/data/exp/in/f")
    assert not caveats.may_act(may, "DOWNLOAD", "/data/other")
    assert not caveats.may_act(may, "READ_METADATA", "/home/alice")


def test_a_scope_stays_below_the_base_path(folder: Path) -> None:
    """`..` in a scope leads nowhere else."""
    may = read(folder, token(scope="storage.read:/../../home")).restrictions
    assert may.granted[0][1] == "/data/home"


def test_scitokens_are_understood(folder: Path) -> None:
    """The same in SciTokens' words."""
    may = read(folder, token(ver="scitoken:2.0", scope="read:/a write:/b")).restrictions
    assert caveats.may_act(may, "DOWNLOAD", "/data/a/f")
    assert caveats.may_act(may, "DELETE", "/data/b/f")
    assert not caveats.may_act(may, "DELETE", "/data/a/f")


@pytest.mark.parametrize(
    "claims", [{"scope": "read:/a"}, {"scp": ["read:/a"]}, {"scp": "storage.read:/a"}]
)
def test_a_narrow_token_is_narrow_in_any_profile(folder: Path, claims: dict[str, Any]) -> None:
    """SciTokens of version 1 do not say which they are, and some issuers write `scp`."""
    may = read(folder, token(**claims)).restrictions
    assert caveats.may_act(may, "DOWNLOAD", "/data/a/f")
    assert not caveats.may_act(may, "DELETE", "/data/a/f")
    assert not caveats.may_act(may, "DOWNLOAD", "/home/alice/f")


def test_tokens_of_other_groups_have_other_channels(folder: Path) -> None:
    """What a token's groups let it watch is told to none of the same user's without them."""
    issuers = read_issuers(folder / "issuers.toml")
    owners = []
    for groups in ([], ["/exp"], ["/exp", "/other"], ["/other", "/exp"]):
        text = token(**{"wlcg.groups": groups})
        owners.append(read(folder, text).owner_key)
        assert tokens.accepted_restrictions(text, issuers) == read(folder, text).restrictions
        assert tokens.accepted_restrictions(text, {}) == read(folder, text).restrictions
    assert owners[0] == "1001"
    assert owners[2] == owners[3]
    assert len(set(owners)) == 3


def test_the_api_reads_the_same_restrictions(folder: Path) -> None:
    """What the API reads from an accepted token is what the storage read."""
    text = token(scope="storage.read:/exp")
    issuers = read_issuers(folder / "issuers.toml")
    assert tokens.accepted_restrictions(text, issuers) == read(folder, text).restrictions
    assert tokens.accepted_restrictions(text, {}).granted[0][1] == "/exp"


def test_keys_are_read_again_when_the_file_changes(folder: Path) -> None:
    """A rotated key is accepted without a restart; the old one no more."""
    issuers = read_issuers(folder / "issuers.toml")
    rotated = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(OTHER_KEY.public_key()))
    replacement = folder / "new"
    replacement.write_text(json.dumps({"keys": [{**rotated, "kid": "new"}]}))
    replacement.rename(folder / "jwks.json")
    new = token(OTHER_KEY, kid="new")
    assert tokens.principal(new, issuers, ACCOUNTS.get, now_s=NOW_S) is not None
    with pytest.raises(Refused):
        tokens.principal(token(), issuers, ACCOUNTS.get, now_s=NOW_S)


@pytest.fixture
def key_server() -> Iterator[tuple[http.server.HTTPServer, list[str]]]:
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            body = key_set().encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server, asked
        server.shutdown()
        thread.join()


def test_keys_come_from_a_url_and_are_remembered(
    folder: Path, key_server: tuple[http.server.HTTPServer, list[str]]
) -> None:
    """Many tokens, also with unknown keys, cost the issuer few requests."""
    server, asked = key_server
    url = f"http://127.0.0.1:{server.server_address[1]}/jwk"
    (folder / "issuers.toml").write_text(FILE.replace("jwks.json", url))
    issuers = read_issuers(folder / "issuers.toml")
    for _ in range(5):
        assert tokens.principal(token(), issuers, ACCOUNTS.get, now_s=NOW_S) is not None
        with pytest.raises(Refused):
            tokens.principal(token(kid="unheard"), issuers, ACCOUNTS.get, now_s=NOW_S)
    assert len(asked) <= 2


def test_an_issuer_that_is_away_is_unavailable(folder: Path) -> None:
    """A token that cannot be judged now is no wrong one."""
    (folder / "issuers.toml").write_text(FILE.replace("jwks.json", "http://127.0.0.1:9/jwk"))
    with pytest.raises(Unavailable, match="cannot be had"):
        read(folder, token())


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ('audience = ["https://storage.example.org"]', "", "audience must name at least one"),
        ("jwks.json", "absent.json", "absent.json"),
        ("jwks.json", "issuers.toml", "not a JSON Web Key Set"),
        ("base_path =", "base-path =", "unknown base-path"),
        ('"/data"', '"data"', "base_path must begin with /"),
        ("[[issuers]]", "[[issuer]]", "unknown issuer"),
        ("= 2000", '= "2000"', "groups must be a table of int"),
        ("base_path", 'algorithms = ["HS256"]\nbase_path', "algorithms must be of"),
        ("[[issuers]]", "[[issuers", "issuers.toml"),
    ],
)
def test_a_bad_file_is_told_at_start(folder: Path, old: str, new: str, why: str) -> None:
    """What cannot be used is an error with the file's name and the reason."""
    (folder / "issuers.toml").write_text(FILE.replace(old, new))
    with pytest.raises(SettingsError, match=str(folder)) as refused:
        read_issuers(folder / "issuers.toml")
    assert why in str(refused.value)
