"""Scenes that histories begin with, so that everything that should be compared does happen.

What random histories do rarely they might not do at all in a run; each scene is in it by
construction, with random histories going on from it.
"""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import strategies as st

from tests.conformance.noninterference import histories as h


class Scene(NamedTuple):
    """How a history begins.

    Attributes:
        steps: what everybody sees of it.
        secrets: what bob does before it, in one of the two histories.
    """

    steps: tuple[h.Step, ...]
    secrets: tuple[h.Hidden, ...] = ()


_FILE = "/pub/own/v1"
"""It is there from the beginning."""

_SECRET = "/pub/hid/h0"


def _seen(kind: str, path: str = _FILE, other: str = "") -> h.Visible:
    return h.Visible(kind, path, other)


def _closed(how: str, place: str = "/pub/own") -> h.Visible:
    return h.Visible("close", place, how)


def _hidden(*kinds: str, path: str = "/hid/h0") -> tuple[h.Hidden, ...]:
    return tuple(h.Hidden(kind, path, "/hid/h1") for kind in kinds)


def _dav(method: str, path: str = "/pub/own/v0") -> h.Dav:
    return h.Dav(method, path, "0")


def _subscribed(extra: str, path: str = "/pub/own") -> h.Subscribe:
    return h.Subscribe(path, "inotify", recursive=True, extra=extra)


SCENES = (
    Scene((_closed("mode"), h.Ask("/pub/own", "")), _hidden("write", "read", "delete")),
    Scene((_closed("group"), _seen("reopen", "/pub/own"))),
    Scene((_closed("owner"), h.Reconnect((), "id", 3)), _hidden("write", "chmod", "chgrp")),
    Scene((_closed("her group", "/pub/x/open"),), _hidden("mkdir", "list", "rmdir")),
    Scene((h.Reconnect((_closed("acl"),), "cursor", 0),), _hidden("xattr", "acl", "acl-open")),
    Scene((_closed("acl of her group"), h.Lists()), _hidden("mkdir", "rename")),
    Scene((_closed("acl of all", "/pub/x/open"), h.Reconnect((), "", 0)), _hidden("symlink")),
    Scene((_closed("move"), h.Ask("/pub/own", ""), _seen("reopen", "/pub/own"))),
    Scene((_closed("move", "/pub/x/open"), h.Reconnect((), "id", 9))),
    Scene((_seen("write"), _seen("read"), _seen("delete"))),
    Scene((_seen("mkdir", "/pub/d"), _seen("rename", "/pub/own/v1", "/pub/d/v1"))),
    Scene((_seen("write", "/pub/v0"), _seen("chmod", "/pub/v0"), _seen("chgrp", "/pub/v0"))),
    Scene((_seen("write", "/pub/v0"), _seen("acl", "/pub/v0"), _seen("xattr", "/pub/v0"))),
    Scene((_seen("symlink", "/pub/own/v0", "/pub/v1"), _seen("read", "/pub/own/v0"))),
    Scene((_seen("out", other="/hid"), _seen("in", other="/hid"))),
    Scene((h.Reconnect((_seen("out", other="/pub/x"),), "id", 0),)),
    Scene((h.Ask(_FILE, ""), h.Ask(_FILE, "DELETE"), h.Ask(_FILE, ""))),
    Scene((h.Ask("/hid/h0", "DELETE"), h.Ask("/hid/h0", "mkdir")), _hidden("mkdir")),
    Scene((h.Ask("/pub/hid", "DELETE"),), _hidden("rmdir", path="/pub/hid/s")),
    Scene((h.Ask(_FILE, "chmod"), h.Ask("/pub/own", "mkdir"), h.Ask(_FILE, "mv"))),
    Scene((_dav("LOCK", "/pub"), _dav("LOCK"), _dav("DELETE")), _hidden("lock", path=_SECRET)),
    Scene((_dav("PUT"), _dav("MOVE"), h.Dav("DELETE", "/pub/n", "0"), _dav("MKCOL"))),
    Scene((_dav("COPY", _FILE), _dav("GET", _FILE), _dav("HEAD", "/pub"), _dav("OPTIONS", "/"))),
    Scene((h.Dav("MOVE", "/pub/hid", "infinity"),), _hidden("lock", path=_SECRET)),
    Scene((_subscribed("{}"), _subscribed("{}"), h.Unsubscribe(0))),
    Scene((_subscribed('{"snapshot":true,"details":true}'), _seen("write"))),
    Scene((_subscribed("{}", "/pub/hid"), _subscribed("{}", "/hid/h0")), _hidden("mkdir")),
    Scene((h.Subscribe("/pub/own", "transfer", recursive=False, extra="{}"), _seen("write"))),
    Scene((h.Reconnect((_seen("write"), _closed("mode"), _seen("reopen", "/pub/own")), "", 0),)),
    Scene((h.Reconnect((_seen("delete"),), "cursor", 0), h.Reconnect((), "cursor", 0))),
)
"""Each with its own part of `test_noninterference.ALL_OF_IT`."""

_MOST_STEPS = 10
_MOST = max(len(scene.steps) for scene in SCENES) + _MOST_STEPS
_BOBS = st.lists(st.lists(h.HIDDEN, min_size=1, max_size=4), min_size=_MOST, max_size=_MOST)
_STEPS = st.lists(h.STEPS, min_size=3, max_size=_MOST_STEPS)
_WAYS = st.sampled_from(h.WAYS_TO_CLOSE)
_SIMPLE = st.sampled_from(["mode", "group", "acl"])
_GROUNDS = st.builds(h.Ground, st.tuples(_WAYS, _WAYS), _SIMPLE, st.tuples(_SIMPLE, _SIMPLE))


def begun(
    scene: Scene,
    going_on: list[h.Step],
    one: list[list[h.Hidden]],
    other: list[list[h.Hidden]],
    ground: h.Ground,
) -> h.Pair:
    """Return a pair of histories that begin with a scene, before which bob has secrets in one."""
    first, *others = one
    secretly = [[*scene.secrets, *first], *others]
    return h.Pair([*scene.steps, *going_on], secretly, other, ground)


def pairs(scenes: st.SearchStrategy[Scene]) -> st.SearchStrategy[h.Pair]:
    """Return random pairs of histories that begin with one of the scenes."""
    return st.builds(begun, scenes, _STEPS, _BOBS, _BOBS, _GROUNDS)


PAIRS = pairs(st.sampled_from(SCENES))
