"""What chains of caveats leave: dCache's rules, and a straightforward model to agree with."""

from __future__ import annotations

import ipaddress
import posixpath
from datetime import UTC, datetime
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.authz import caveats
from pipeline.authz.caveat_values import BadCaveat
from pipeline.authz.principal import Restrictions

ISSUED = ["iid:AbCdEf12", "id:1000;1000,2000;paul"]
NOON = "2030-01-01T12:00:00Z"
NOON_S = datetime(2030, 1, 1, 12, tzinfo=UTC).timestamp()


def combined(*further: str) -> caveats.Context:
    return caveats.combine([*ISSUED, *further])


def left(*further: str) -> Restrictions:
    return combined(*further).restrictions


@pytest.mark.parametrize("second", ["/other", "other", "/other/", "//other", "./other"])
def test_a_second_root_is_below_the_first(second: str) -> None:
    assert left("root:/path", f"root:{second}").root == "/path/other"


@pytest.mark.parametrize("second", ["..", "/../..", "../../etc", "x/../../../etc"])
def test_dots_cannot_leave_the_root(second: str) -> None:
    assert left("root:/path", f"root:{second}").root in ("/path", "/path/etc")


@pytest.mark.parametrize("second", ["..", "../sibling", "/../../etc"])
def test_dots_cannot_leave_the_path(second: str) -> None:
    path = left("path:/data/a", f"path:{second}").path
    assert path == "/data/a" or path.startswith("/data/a/")


def test_a_root_after_a_path_outside_of_it_is_invalid() -> None:
    with pytest.raises(BadCaveat, match="outside"):
        left("path:/a", "root:/b")


def test_a_name_that_only_begins_like_the_path_is_outside_of_it() -> None:
    with pytest.raises(BadCaveat, match="outside"):
        left("path:/data", "root:/database")


def test_a_root_above_a_path_leaves_the_path_where_it_was() -> None:
    """dCache: root /path with path /path/subdir: the user sees the path as /subdir."""
    restrictions = left("path:/path/subdir", "root:/path")
    assert (restrictions.root, restrictions.path) == ("/path", "/path/subdir")


def test_a_root_below_a_path_takes_its_place() -> None:
    restrictions = left("path:/path", "root:/path/subdir")
    assert (restrictions.root, restrictions.path) == ("/path/subdir", "/path/subdir")


def test_a_path_is_below_the_root_and_each_further_one_is_appended() -> None:
    assert left("root:/r", "path:/a", "path:b").path == "/r/a/b"


def test_the_home_moves_with_the_root_and_is_forgotten_when_out_of_reach() -> None:
    assert combined("home:/path/subdir/home", "root:/path").home == "/path/subdir/home"
    assert combined("root:/r", "home:/h").home == "/r/h"
    assert combined("home:/elsewhere", "root:/path").home is None


def test_any_activity_brings_read_metadata() -> None:
    assert left("activity:DOWNLOAD").activities == {"DOWNLOAD", "READ_METADATA"}


def test_activities_may_be_narrowed() -> None:
    activities = left("activity:DOWNLOAD,LIST,UPLOAD", "activity:LIST").activities
    assert activities == {"LIST", "READ_METADATA"}


@pytest.mark.parametrize("second", ["LIST", "DOWNLOAD,LIST", "DOWNLOAD,MANAGE"])
def test_widening_activities_is_invalid(second: str) -> None:
    with pytest.raises(BadCaveat, match="activity"):
        left("activity:DOWNLOAD", f"activity:{second}")


@pytest.mark.parametrize("text", ["", "download", "DOWNLOAD,", "ALL", "DOWNLOAD;LIST"])
def test_an_activity_that_does_not_exist_is_invalid(text: str) -> None:
    with pytest.raises(BadCaveat):
        left(f"activity:{text}")


def test_the_earliest_end_counts() -> None:
    restrictions = left(f"before:{NOON}", "before:2031-01-01T00:00:00Z")
    assert restrictions.expires_s == NOON_S
    assert not caveats.is_expired(restrictions, NOON_S - 0.001)
    assert caveats.is_expired(restrictions, NOON_S)


@pytest.mark.parametrize(
    "text",
    ["2030-01-01T12:00:00.000Z", "2030-01-01T12:00:00.000000000Z", "2030-01-01T13:00+01:00"],
)
def test_an_instant_may_be_written_as_java_does(text: str) -> None:
    assert left(f"before:{text}").expires_s == NOON_S


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tomorrow",
        "2030-01-01",
        "2030-01-01T12:00:00",
        "2030-13-01T00:00:00Z",
        "٢030-01-01T00:00Z",
    ],
)
def test_an_instant_that_is_none_is_invalid(text: str) -> None:
    with pytest.raises(BadCaveat):
        left(f"before:{text}")


def test_every_ip_caveat_must_match() -> None:
    restrictions = left("ip:10.0.0.0/8,2001:db8::/32", "ip:10.1.0.0/16,127.0.0.1")
    assert caveats.from_address_allowed(restrictions, "10.1.2.3")
    assert not caveats.from_address_allowed(restrictions, "10.2.2.3")
    assert not caveats.from_address_allowed(restrictions, "127.0.0.1")
    assert not caveats.from_address_allowed(restrictions, "2001:db8::1")
    assert not caveats.from_address_allowed(restrictions, "not an address")


def test_an_address_written_as_ipv6_is_the_ipv4_address() -> None:
    assert caveats.from_address_allowed(left("ip:127.0.0.1"), "::ffff:127.0.0.1")


@pytest.mark.parametrize("text", ["", "localhost", "10.0.0.0/33", "10.0.0.1,"])
def test_a_network_that_is_none_is_invalid(text: str) -> None:
    with pytest.raises(BadCaveat):
        left(f"ip:{text}")


def test_the_smallest_upload_counts() -> None:
    assert left("max-upload:100", "max-upload:10", "max-upload:50").max_upload_bytes == 10


@pytest.mark.parametrize("text", ["", "-1", "1e3", "ten", "1.0", "9" * 30])
def test_a_size_that_is_none_is_invalid(text: str) -> None:
    with pytest.raises(BadCaveat):
        left(f"max-upload:{text}")


def test_the_identity_is_read() -> None:
    identity = combined().identity
    assert identity is not None
    assert (identity.uid, identity.gids, identity.user) == (1000, (1000, 2000), "paul")
    assert identity.caveat() == ISSUED[1]


@pytest.mark.parametrize(
    "chain",
    [
        [],
        ["iid:x"],
        ["id:1;1;a"],
        ["id:1;1;a", "iid:x"],
        ["iid:x", "iid:y", "id:1;1;a"],
        ["iid:x", "id:1;1;a", "iid:x"],
        ["iid:x", "id:1;1;a", "id:1;1;a"],
        ["iid:", "id:1;1;a"],
        ["path:/a", "iid:x", "id:1;1;a"],
        ["iid:x", "id:1;1"],
        ["iid:x", "id:1;1;a;b"],
        ["iid:x", "id:one;1;a"],
        ["iid:x", "id:1;;a"],
        ["iid:x", "id:1;1,;a"],
        ["iid:x", "id:-1;1;a"],
        ["iid:x", "id:1;1;"],
    ],
)
def test_without_exactly_one_good_id_and_a_leading_iid_it_is_invalid(chain: list[str]) -> None:
    with pytest.raises(BadCaveat):
        caveats.combine(chain)


@pytest.mark.parametrize(
    "caveat", ["name:paul", "Path:/a", "path", "", ":", "path :/a", "path:/a\nb"]
)
def test_what_is_not_understood_is_invalid(caveat: str) -> None:
    with pytest.raises(BadCaveat):
        left(caveat)


def test_a_user_cannot_ask_for_the_servers_caveats() -> None:
    for caveat in ("id:0;0;root", "iid:x"):
        with pytest.raises(BadCaveat):
            caveats.narrow(Restrictions(), [caveat])
    assert caveats.narrow(Restrictions(path="/a"), ["path:/b"]).path == "/a/b"


def test_the_way_down_can_be_listed_and_shows_only_what_leads_down() -> None:
    restrictions = left("path:/data/exp/run1")
    assert caveats.may_act(restrictions, "LIST", "/data")
    assert caveats.may_act(restrictions, "READ_METADATA", "/data/exp")
    assert not caveats.may_act(restrictions, "READ_METADATA", "/data/other")
    assert not caveats.may_act(restrictions, "READ_METADATA", "/data/exp/run10")
    assert not caveats.may_act(restrictions, "DOWNLOAD", "/data/exp")
    assert caveats.may_act(restrictions, "DOWNLOAD", "/data/exp/run1/f")


def test_what_is_outside_of_the_root_is_not_even_a_parent() -> None:
    restrictions = left("root:/data/exp", "path:/run1")
    assert not caveats.may_act(restrictions, "LIST", "/data")
    assert caveats.may_act(restrictions, "LIST", "/data/exp")


def test_a_path_that_is_not_normal_is_refused() -> None:
    assert not caveats.may_act(left("path:/data/exp"), "DOWNLOAD", "/data/exp/../secret")
    assert caveats.may_act(left("path:/data/exp"), "DOWNLOAD", "/data/exp/..name")


def test_granted_pairs_any_of_which_suffices() -> None:
    restrictions = Restrictions(
        granted=((frozenset({"DOWNLOAD"}), "/a"), (frozenset({"UPLOAD", "LIST"}), "/b/c"))
    )
    assert caveats.may_act(restrictions, "DOWNLOAD", "/a/f")
    assert not caveats.may_act(restrictions, "UPLOAD", "/a/f")
    assert caveats.may_act(restrictions, "UPLOAD", "/b/c/f")
    assert caveats.may_act(restrictions, "READ_METADATA", "/b/c/f")
    assert caveats.may_act(restrictions, "LIST", "/b")
    assert not caveats.may_act(restrictions, "LIST", "/d")
    assert not caveats.may_act(restrictions, "DELETE", "/b")


# --- a straightforward model -------------------------------------------------------------------

NAMES = st.sampled_from(["a", "b", "ab", "..", "."])
PATHS = st.lists(NAMES, max_size=4).map(lambda parts: "/" + "/".join(parts))
ACTIVITIES = sorted(caveats.ACTIVITIES)
CAVEATS = st.one_of(
    PATHS.map("root:{}".format),
    PATHS.map("path:{}".format),
    st.lists(st.sampled_from(ACTIVITIES), min_size=1, max_size=6).map(
        lambda names: "activity:" + ",".join(names)
    ),
    st.sampled_from(["ip:127.0.0.0/8", "ip:10.0.0.1,127.0.0.1", "ip:::1/128", "ip:127.0.0.2"]),
    st.integers(0, 5).map("max-upload:{}".format),
    st.integers(0, 5).map("before:2030-01-01T00:00:0{}Z".format),
    st.sampled_from(["id:1;1;eve", "iid:q", "pth:/a", "path", "home:/a"]),
)


class Ask(NamedTuple):
    """Somebody wants to do something."""

    activity: str
    path: str
    address: str = "127.0.0.1"
    now: int = 0
    size: int = 0


def model_join(base: str, value: str) -> str:
    """Join as a shell in a chroot would."""
    below = posixpath.normpath("/" + value.strip("/")).strip("/")
    return posixpath.join(base, below).rstrip("/") or "/"


def model_decides(  # noqa: PLR0911 - one return for each reason to refuse
    chain: list[str], ask: Ask
) -> bool:
    """Walk the chain once for each question and refuse at the first thing that does not fit."""
    root, prefix = "/", "/"
    allowed = set(ACTIVITIES)
    for caveat in chain:
        key, _, value = caveat.partition(":")
        if key == "root":
            root = model_join(root, value)
            if (root + "/").startswith(prefix.rstrip("/") + "/"):
                prefix = root
            elif not (prefix + "/").startswith(root.rstrip("/") + "/"):
                return False
        elif key == "path":
            if ":" not in caveat:
                return False
            prefix = model_join(prefix, value)
        elif key == "activity":
            names = {*value.split(","), "READ_METADATA"}
            if names - allowed:
                return False
            allowed = names
        elif key == "ip":
            client = ipaddress.ip_address(ask.address)
            if not any(client in ipaddress.ip_network(net) for net in value.split(",")):
                return False
        elif key == "max-upload":
            if ask.activity == "UPLOAD" and ask.size > int(value):
                return False
        elif key == "before":
            if ask.now >= int(value[-2]):
                return False
        elif key != "home":
            return False
    inside_root = (ask.path + "/").startswith(root.rstrip("/") + "/")
    below = (ask.path + "/").startswith(prefix.rstrip("/") + "/")
    above = (prefix + "/").startswith(ask.path.rstrip("/") + "/")
    if not inside_root or ask.activity not in allowed:
        return False
    return below or (above and ask.activity in ("LIST", "READ_METADATA"))


def real_decides(chain: list[str], ask: Ask) -> bool:
    try:
        restrictions = combined(*chain).restrictions
    except BadCaveat:
        return False
    base = datetime(2030, 1, 1, tzinfo=UTC).timestamp()
    if caveats.is_expired(restrictions, base + ask.now):
        return False
    if not caveats.from_address_allowed(restrictions, ask.address):
        return False
    largest = restrictions.max_upload_bytes
    if ask.activity == "UPLOAD" and largest is not None and ask.size > largest:
        return False
    return caveats.may_act(restrictions, ask.activity, ask.path)


@settings(max_examples=1000)
@given(
    chain=st.lists(CAVEATS, max_size=6),
    ask=st.builds(
        Ask,
        activity=st.sampled_from(ACTIVITIES),
        path=st.lists(st.sampled_from(["a", "b", "ab"]), max_size=5).map(
            lambda parts: "/" + "/".join(parts)
        ),
        address=st.sampled_from(["127.0.0.1", "127.0.0.2", "10.0.0.1", "::1"]),
        now=st.integers(0, 6),
        size=st.integers(0, 6),
    ),
)
def test_every_chain_is_decided_as_the_model_decides(chain: list[str], ask: Ask) -> None:
    """A thousand random chains: what is allowed is exactly what the model allows."""
    assert real_decides(chain, ask) == model_decides(chain, ask)


@given(chain=st.lists(CAVEATS, max_size=5), more=CAVEATS, path=PATHS.map(posixpath.normpath))
def test_a_further_caveat_never_widens(chain: list[str], more: str, path: str) -> None:
    """Whatever is allowed after a caveat was allowed before it."""
    for activity in ACTIVITIES:
        ask = Ask(activity, path)
        if real_decides([*chain, more], ask):
            assert real_decides(chain, ask)
