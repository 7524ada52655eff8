"""Asking the WebDAV door for a macaroon, and what the storage makes of one."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any, cast

import pytest

from pipeline.authz import caveats, macaroons
from pipeline.authz.principal import Principal, Restrictions
from schemas.errors import Refused, SettingsError
from storage_sim import macaroon_login
from storage_sim.authentication import Authenticator
from storage_sim.doors.dav_resource import PRINCIPAL
from storage_sim.doors.macaroon_request import CONTENT_TYPE, MacaroonRequests
from storage_sim.macaroon_keys import DAY_S, MacaroonKeys

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NOW = 1_900_000_000.0
PAUL = Principal("paul", 1000, (1000, 2000), home="/home/paul")


class Door:
    """The middleware, with a clock and a user who is let in."""

    def __init__(self, folder: Path) -> None:
        self.now = NOW
        self.who = PAUL
        self.keys = MacaroonKeys(folder / "keys.json", clock=lambda: self.now)
        self.app = MacaroonRequests(
            lambda environ, start: [(start("204 No Content", []) and b"") or b"passed on"],
            keys=self.keys,
            plain_http="loopback",
            clock=lambda: self.now,
        )

    def ask(self, body: Any = None, path: str = "/", **environ: Any) -> tuple[str, Any]:
        raw = (
            b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        )
        said: list[str] = []
        answer = b"".join(
            self.app(
                {
                    "REQUEST_METHOD": "POST",
                    "CONTENT_TYPE": CONTENT_TYPE,
                    "CONTENT_LENGTH": str(len(raw)),
                    "PATH_INFO": path,
                    "HTTP_HOST": "door:2880",
                    "REMOTE_ADDR": "127.0.0.1",
                    "wsgi.url_scheme": "http",
                    "wsgi.input": io.BytesIO(raw),
                    PRINCIPAL: self.who,
                    **environ,
                },
                lambda status, headers, *_: said.append(status),  # type: ignore[arg-type,return-value]
            )
        )
        return said[0], json.loads(answer) if answer.startswith(b"{") else answer.decode()

    def token(self, body: Any = None, path: str = "/") -> str:
        status, answer = self.ask(body, path)
        assert status == "200 OK", status
        token: str = answer["macaroon"]
        return token

    def login(self, token: str, address: str = "127.0.0.1") -> Principal:
        reader = macaroon_login.reader(self.keys.lookup, clock_s=lambda: self.now)
        authenticator = Authenticator(
            cast("Any", None), token_readers=[reader], clock_s=lambda: self.now
        )
        who = authenticator.authenticate(f"Bearer {token}", [], address)
        assert who is not None
        return who


@pytest.fixture
def door(tmp_path: Path) -> Door:
    return Door(tmp_path)


def test_the_caveats_stand_in_dcaches_order(door: Door) -> None:
    token = door.token({"caveats": ["activity:DOWNLOAD,LIST"], "validity": "PT30M"}, "/data/x y")
    first, *rest = macaroons.caveats_of(token)
    assert first.startswith("iid:")
    assert rest == [
        "id:1000;1000,2000;paul",
        f"before:{macaroon_login.instant(NOW + 1800)}",
        "home:/home/paul",
        "path:/data/x y",
        "activity:DOWNLOAD,LIST",
    ]


def test_both_forms_of_uri_are_told(door: Door) -> None:
    _, answer = door.ask(path="/data/x y")
    token = answer["macaroon"]
    assert answer["uri"] == {
        "target": "http://door:2880/data/x%20y",
        "targetWithMacaroon": f"http://door:2880/data/x%20y?authz={token}",
        "base": "http://door:2880/",
        "baseWithMacaroon": f"http://door:2880/?authz={token}",
    }
    assert answer["expires_in"] == DAY_S


@pytest.mark.parametrize(
    ("body", "lifetime_s"),
    [
        (None, DAY_S),
        ({"validity": "PT30M"}, 1800),
        ({"validity": "P1DT12H"}, 1.5 * DAY_S),
        ({"validity": "P30D"}, 7 * DAY_S),
        ({"caveats": [f"before:{macaroon_login.instant(NOW + 60)}"]}, 60),
        ({"caveats": [f"before:{macaroon_login.instant(NOW + 60)}"], "validity": "PT30S"}, 30),
    ],
)
def test_the_earliest_end_counts(door: Door, body: Any, lifetime_s: float) -> None:
    lines = macaroons.caveats_of(door.token(body))
    assert [line for line in lines if line.startswith("before:")] == [
        f"before:{macaroon_login.instant(NOW + lifetime_s)}"
    ]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"{", "400 Unable to parse JSON: "),
        (b"[]", "400 Unable to parse JSON: "),
        (b"[" * 60_000, "400 Unable to parse JSON: "),
        (b'{"caveats": ["path:/\\ud800"]}', "400 Unable to parse JSON: "),
        ({"caveats": "path:/x"}, "400 Bad requested caveat: "),
        ({"caveats": ["colour:red\nX: y"]}, "400 Bad requested caveat: "),
        ({"caveats": ["id:0;0;root"]}, "400 Bad requested caveat: "),
        ({"caveats": ["activity:LIST", "activity:UPLOAD"]}, "400 Bad requested caveat: "),
        ({"validity": "30 minutes"}, "400 Bad validity value: "),
        ({"validity": 30}, "400 Bad validity value: "),
        ({"validity": "PT0S"}, "400 Bad validity value: "),
    ],
)
def test_errors_stand_in_the_status_line(door: Door, body: Any, said: str) -> None:
    status, answer = door.ask(body)
    assert status.startswith(said)
    assert "\n" not in status
    assert answer == ""


@pytest.mark.parametrize("address", ["192.0.2.1", "not an address"])
def test_without_tls_only_loopback_is_answered(door: Door, address: str) -> None:
    assert door.ask(REMOTE_ADDR=address)[0] == "400 Not secure transport"
    assert door.ask(REMOTE_ADDR=address, **{"wsgi.url_scheme": "https"})[0] == "200 OK"


@pytest.mark.parametrize(
    "changes", [{"CONTENT_TYPE": "application/json"}, {"REQUEST_METHOD": "PUT"}]
)
def test_all_else_is_passed_on(door: Door, changes: dict[str, str]) -> None:
    assert door.ask(**changes) == ("204 No Content", "passed on")


def test_a_macaroon_can_be_exchanged_for_a_weaker_one_only(door: Door) -> None:
    """Attenuation at the door: what was taken away stays away, however it is asked for."""
    door.who = door.login(
        door.token(
            {"caveats": ["activity:DOWNLOAD,LIST", "ip:127.0.0.0/8"], "validity": "PT10M"}, "/data"
        )
    )
    weaker = door.login(door.token({"validity": "P1D", "caveats": ["path:/b"]}, "/data/a"))
    assert weaker.restrictions == Restrictions(
        path="/data/a/b",
        activities=frozenset({"DOWNLOAD", "LIST", "READ_METADATA"}),
        addresses=(("127.0.0.0/8",),),
        expires_s=NOW + 600,
    )
    assert door.ask({"caveats": ["activity:UPLOAD"]})[0].startswith("400 Bad requested caveat")
    assert door.ask(path="/elsewhere")[0].startswith("400 Bad requested caveat")
    assert door.login(door.token(path="/")).restrictions.path == "/data"


def test_a_root_stays_and_paths_are_below_it(door: Door) -> None:
    door.who = Principal("paul", 1000, (1000,), restrictions=Restrictions(root="/r", path="/r"))
    token = door.token(path="/data")
    assert macaroons.caveats_of(token)[3:] == ["root:/r", "path:/data"]
    assert door.login(token).restrictions.path == "/r/data"


def test_who_comes_with_a_macaroon_is_who_asked_for_it(door: Door) -> None:
    who = door.login(door.token())
    assert (who.user, who.uid, who.gids, who.home) == ("paul", 1000, (1000, 2000), "/home/paul")


def test_expired_and_from_elsewhere_are_refused_and_said_to_the_holder(door: Door) -> None:
    token = door.token({"caveats": ["ip:10.0.0.0/8"], "validity": "PT1M"})
    with pytest.raises(Refused, match="not for this address"):
        door.login(token)
    door.now += 60
    with pytest.raises(Refused, match="macaroon login denied: Invalid macaroon: expired: before:"):
        door.login(token, "10.0.0.1")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda token: token[:-6],
        lambda token: macaroons.mint(b"x" * 32, "AAAAAAAA", "/", ["id:0;0;root"]),
        lambda token: macaroons.attenuate(token, ["path:/x"])[:-2] + "AA",
    ],
)
def test_what_is_not_ours_is_refused_without_a_hint(
    door: Door, spoil: Callable[[str], str]
) -> None:
    with pytest.raises(Refused) as refused:
        door.login(spoil(door.token()))
    assert str(refused.value) in {
        "macaroon login denied: Invalid macaroon",
        "not a token that is known here",
    }


def test_appended_nonsense_makes_it_invalid(door: Door) -> None:
    for line in ("activity:EVERYTHING", "colour:red", "id:0;0;root", "iid:x", "root:/x\0"):
        with pytest.raises(Refused):
            door.login(macaroons.attenuate(door.token(), [line]))


def test_secrets_are_replaced_and_old_macaroons_live_to_their_end(door: Door) -> None:
    old = door.token({"validity": "P7D"})
    first = door.keys.signing().id
    door.now += DAY_S + 1
    assert door.keys.signing().id != first
    assert door.login(old)
    door.now = NOW + 7 * DAY_S - 1
    assert door.login(old)
    door.now = NOW + 8 * DAY_S + 1
    assert door.keys.lookup(first) is None


def test_secrets_survive_a_restart_and_are_nobody_elses(tmp_path: Path) -> None:
    door = Door(tmp_path)
    token = door.token()
    assert Door(tmp_path).login(token)
    file = tmp_path / "keys.json"
    assert file.stat().st_mode & 0o777 == 0o600
    assert "secret=" not in repr(door.keys.signing())
    file.chmod(0o644)
    with pytest.raises(SettingsError, match="chmod 600"):
        Door(tmp_path)


def test_a_broken_file_of_secrets_is_said_at_start(tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_text("{")
    (tmp_path / "keys.json").chmod(0o600)
    with pytest.raises(SettingsError, match=r"keys\.json: not a file of macaroon secrets"):
        Door(tmp_path)


def test_removing_the_file_ends_all(tmp_path: Path) -> None:
    token = Door(tmp_path).token()
    (tmp_path / "keys.json").unlink()
    with pytest.raises(Refused):
        Door(tmp_path).login(token)


def test_a_scope_token_cannot_be_exchanged(door: Door) -> None:
    scoped = Restrictions(granted=((frozenset({caveats.DOWNLOAD}), "/a"),))
    door.who = Principal("paul", 1000, (1000,), restrictions=scoped)
    assert door.ask()[0] == "400 Cannot serialise restriction granted"
