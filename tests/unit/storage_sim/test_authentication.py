"""Who makes a request: passwords, roles, tokens, and what slows down guessing."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pytest

from pipeline.authz.principal import Principal, Restrictions
from schemas.errors import Refused
from storage_sim import authentication, users
from storage_sim.authentication import Authenticator, BadCredentials, TooManyAttempts
from storage_sim.users import Users
from tests.unit.storage_sim.test_users import FILE, written

if TYPE_CHECKING:
    from pathlib import Path

HERE = "192.0.2.1"


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now_s = 1_000_000.0

    def __call__(self) -> float:
        """Tell the time."""
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    """Give a clock."""
    return Clock()


@pytest.fixture
def authenticator(tmp_path: Path, clock: Clock) -> Authenticator:
    """Give one that knows alice, and tokens that begin with "t"."""

    def read(token: str) -> Principal | None:
        if token == "tbad":
            raise Refused("the token is bad")
        if not token.startswith("t"):
            return None
        restrictions = Restrictions(expires_s=1_000_100.0, addresses=(("192.0.2.0/24",),))
        return Principal("alice", 1001, (1001,), restrictions=restrictions)

    found = Users(written(tmp_path, FILE))
    return Authenticator(found, token_readers=[read], clock_s=clock)


def basic(login: str, password: str) -> str:
    """Write a header."""
    return "Basic " + base64.b64encode(f"{login}:{password}".encode()).decode()


def test_the_right_password(authenticator: Authenticator) -> None:
    """It gives the user as the file has them."""
    found = authenticator.authenticate(basic("alice", "secret"), [], HERE)
    assert found == Principal("alice", 1001, (1001, 2000), home="/home/alice")


def test_no_credentials(authenticator: Authenticator) -> None:
    """Nobody is nobody, not an error."""
    assert authenticator.authenticate(None, [], HERE) is None


@pytest.mark.parametrize(
    ("login", "roles"),
    [("alice#admin", {"admin"}), ("alice#other", set()), ("alice#", set()), ("alice", set())],
)
def test_roles_are_asserted_behind_the_name(
    authenticator: Authenticator, login: str, roles: set[str]
) -> None:
    """A role that the user does not have is ignored (rule R21)."""
    found = authenticator.authenticate(basic(login, "secret"), [], HERE)
    assert found is not None
    assert found.roles == roles


@pytest.mark.parametrize(
    "header",
    [
        basic("alice", "wrong"),
        basic("nobody", "secret"),
        basic("", ""),
        "Basic !!!",
        "Basic " + base64.b64encode(b"alice").decode(),
        "Basic " + base64.b64encode(b"\xff:\xff").decode(),
        "Digest x",
        "Bearer",
        "Bearer ",
        "Bearer unknown",
        "Bearer tbad",
        "x" * 100_000,
    ],
)
def test_what_is_refused(authenticator: Authenticator, header: str) -> None:
    """All of it is 401, and no message has the password."""
    with pytest.raises(BadCredentials) as caught:
        authenticator.authenticate(header, [], HERE)
    assert "secret" not in str(caught.value)


def test_unknown_users_and_wrong_passwords_are_told_apart_by_nothing(
    authenticator: Authenticator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both are hashed once and get the same words."""
    hashed: list[str] = []

    def fits(password_hash: str, password: str) -> bool:
        hashed.append(password_hash)
        return False

    monkeypatch.setattr(users, "password_fits", fits)
    said = set()
    for login in ("alice", "nobody"):
        with pytest.raises(BadCredentials) as caught:
            authenticator.authenticate(basic(login, "wrong"), [], HERE)
        said.add(str(caught.value))
    assert len(hashed) == 2
    assert len(said) == 1


def test_tokens_in_header_or_query(authenticator: Authenticator) -> None:
    """Either place works."""
    for header, authz in ((None, ["token"]), ("Bearer token", [])):
        found = authenticator.authenticate(header, authz, HERE)
        assert found is not None
        assert found.user == "alice"


@pytest.mark.parametrize(
    ("header", "authz"),
    [
        ("Bearer token", ["token"]),
        (basic("alice", "secret"), ["token"]),
        (None, ["token", "token"]),
    ],
)
def test_two_tokens_are_an_error(
    authenticator: Authenticator, header: str | None, authz: list[str]
) -> None:
    """Which of them holds is not guessed."""
    with pytest.raises(BadCredentials, match="more than one"):
        authenticator.authenticate(header, authz, HERE)


def test_a_token_ends(authenticator: Authenticator, clock: Clock) -> None:
    """At its time it is refused."""
    clock.now_s += 101
    with pytest.raises(BadCredentials, match="expired"):
        authenticator.authenticate("Bearer token", [], HERE)


def test_a_token_is_for_addresses(authenticator: Authenticator) -> None:
    """From elsewhere it is refused."""
    with pytest.raises(BadCredentials, match="address"):
        authenticator.authenticate("Bearer token", [], "198.51.100.1")


def test_wrong_passwords_slow_down_their_user_at_their_address_alone(
    authenticator: Authenticator, clock: Clock
) -> None:
    """After a few, each further try has to wait longer; others are not touched."""
    for _ in range(5):
        with pytest.raises(BadCredentials):
            authenticator.authenticate(basic("alice", "wrong"), [], HERE)
    with pytest.raises(TooManyAttempts) as caught:
        authenticator.authenticate(basic("alice", "secret"), [], HERE)
    assert caught.value.retry_after_s == 1
    assert authenticator.authenticate(basic("alice", "secret"), [], "192.0.2.2") is not None
    clock.now_s += 1.1
    with pytest.raises(BadCredentials):
        authenticator.authenticate(basic("alice", "wronger"), [], HERE)
    clock.now_s += 1.1
    with pytest.raises(TooManyAttempts):
        authenticator.authenticate(basic("alice", "wronger"), [], HERE)
    clock.now_s += 1000
    assert authenticator.authenticate(basic("alice", "secret"), [], HERE) is not None


def test_who_is_known_is_not_slowed_down_by_others_guesses(authenticator: Authenticator) -> None:
    """A remembered password passes also while guesses from the same address wait."""
    header = basic("alice", "secret")
    authenticator.authenticate(header, [], HERE)
    for _ in range(6):
        with pytest.raises(Refused):
            authenticator.authenticate(basic("alice", "wrong"), [], HERE)
    assert authenticator.authenticate(header, [], HERE) is not None


def test_a_right_password_is_hashed_once(
    authenticator: Authenticator, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is remembered for a while, and not longer."""
    hashed: list[str] = []
    fits = users.password_fits

    def counted(password_hash: str, password: str) -> bool:
        hashed.append(password)
        return fits(password_hash, password)

    monkeypatch.setattr(users, "password_fits", counted)
    for _ in range(3):
        authenticator.authenticate(basic("alice", "secret"), [], HERE)
    assert len(hashed) == 1
    clock.now_s += 301
    authenticator.authenticate(basic("alice", "secret"), [], HERE)
    assert len(hashed) == 2


def test_a_changed_password_holds_at_once(tmp_path: Path, clock: Clock) -> None:
    """What was remembered is bound to the hash in the file."""
    file = written(tmp_path, FILE)
    authenticator = Authenticator(Users(file), clock_s=clock)
    authenticator.authenticate(basic("alice", "secret"), [], HERE)
    fresh = tmp_path / "fresh.toml"
    fresh.write_text(
        "\n".join(
            f'password = "{users.hash_password("other")}"' if line.startswith("password") else line
            for line in FILE.splitlines()
        )
    )
    fresh.replace(file)
    with pytest.raises(BadCredentials):
        authenticator.authenticate(basic("alice", "secret"), [], HERE)
    assert authenticator.authenticate(basic("alice", "other"), [], HERE) is not None


def test_what_is_remembered_is_bounded(
    authenticator: Authenticator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand invented users do not fill the memory."""
    monkeypatch.setattr(users, "password_fits", lambda _hash, _password: False)
    monkeypatch.setattr(authentication, "_FAILURES", 100)
    for number in range(1000):
        with pytest.raises(BadCredentials):
            authenticator.authenticate(basic(f"user{number}", "x"), [], f"192.0.2.{number}")
    assert len(authenticator._wrong) == 100


@pytest.mark.parametrize(
    ("name", "uid", "gids", "left"),
    [
        ("alice", 1001, (1001, 2000), (1001, 2000)),
        ("alice", 1001, (1001, 3000), (1001,)),
        ("alice", 1001, (3000,), ()),
        ("alice", 1002, (1001,), None),
        ("gone", 1001, (1001,), None),
    ],
)
def test_what_a_token_says_of_its_user_must_still_be_true(
    tmp_path: Path, name: str, uid: int, gids: tuple[int, ...], left: tuple[int, ...] | None
) -> None:
    """Who is gone is refused; groups that were left do not come back with an old macaroon."""
    found = Users(written(tmp_path, FILE))
    read = authentication.for_known_users(lambda _token: Principal(name, uid, gids), found)
    if left is None:
        with pytest.raises(Refused, match="not known any more"):
            read("token")
    else:
        principal = read("token")
        assert principal is not None
        assert principal.gids == left
