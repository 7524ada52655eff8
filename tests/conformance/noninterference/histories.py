"""Histories: what everybody does and alice asks, and what bob does where alice cannot look."""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import strategies as st

OPEN = ("/pub", "/pub/own", "/pub/x/open")
"""Directories that alice may list; `/pub/x` above the last one she may only pass through."""

CLOSED = ("/hid", "/pub/hid", "/pub/x", "/pub/hid/s", "/pub/x/s", "/hid/moved")
"""Directories that alice may not list; the last three may be there or not."""

CLOSABLE = OPEN[1:]
"""Directories that a step may close to alice; what is done there afterwards is hidden."""

LINK = "/pub/own/link"
"""A symbolic link to something hidden that may be there or not."""

WAY = "/pub/x/open/way"
"""A symbolic link to a hidden directory."""

WAYS_TO_CLOSE = ("mode", "group", "owner", "her group", "acl", "acl of her group", "acl of all")
"""How a directory is closed to alice; each is another rule of who may list."""


class Ground(NamedTuple):
    """How the places are closed and opened that a history begins with.

    Attributes:
        closed: of `WAYS_TO_CLOSE`, for `/hid` and `/pub/hid`.
        passable: how `/pub/x` may be passed through and not listed: mode, group, acl.
        open: how `CLOSABLE` are open: mode, group, acl.
    """

    closed: tuple[str, str]
    passable: str
    open: tuple[str, str]


class Hidden(NamedTuple):
    """One operation of bob's on what alice may not see.

    Attributes:
        kind: write, delete, mkdir, rmdir, rename, read, list, chmod, chgrp, symlink, xattr, acl
            (denies alice), acl-open (allows alice: what is above stays closed), lock.
        path: what.
        other: the target of a rename or link.
    """

    kind: str
    path: str
    other: str


class Visible(NamedTuple):
    """One operation that alice may see.

    Attributes:
        kind: write, delete, mkdir, rename, read, chmod, chgrp, acl, symlink, xattr, out (to a
            hidden place), in (from there), close (a directory is closed to alice), reopen.
        path: what.
        other: the target of a rename or link; how a directory is closed: one of `WAYS_TO_CLOSE`,
            or `move` (into a hidden directory).
    """

    kind: str
    path: str
    other: str


class Ask(NamedTuple):
    """Alice asks for a path's entry, or tries to change something.

    Attributes:
        path: what.
        action: "" to look; `DELETE`; or the action of a POST.
    """

    path: str
    action: str


class Dav(NamedTuple):
    """Alice asks the WebDAV door.

    Attributes:
        method: of HTTP or WebDAV.
        path: what.
        depth: 0, 1, infinity.
    """

    method: str
    path: str
    depth: str


class Subscribe(NamedTuple):
    """Alice subscribes.

    Attributes:
        path: to what.
        event_type: kind of event.
        recursive: everything below, too.
        extra: further members of the selector, as JSON.
    """

    path: str
    event_type: str
    recursive: bool
    extra: str


class Unsubscribe(NamedTuple):
    """Alice ends one of her subscriptions, counted from the newest."""

    back: int


class Lists(NamedTuple):
    """Alice lists her subscriptions."""


class Reconnect(NamedTuple):
    """Alice's connection breaks, things go on, and she comes back.

    Attributes:
        meanwhile: what everybody did while she was away, besides bob.
        resume: how she goes on: "" with nothing, `id`, or `cursor` (`?resume=true`).
        back: how many events she says she has not had, though she had.
    """

    meanwhile: tuple[Visible, ...]
    resume: str
    back: int


Step = Visible | Ask | Dav | Subscribe | Unsubscribe | Lists | Reconnect

SECRETS = (
    *CLOSED[:2],
    *(f"{folder}/{name}" for folder in (*CLOSED[:2], WAY) for name in ("h0", "s")),
)
"""What alice asks for in the end; she must not find out what of it is there."""


def _in(folders: tuple[str, ...], names: tuple[str, ...]) -> st.SearchStrategy[str]:
    return st.builds(
        lambda folder, name: f"{folder}/{name}", st.sampled_from(folders), st.sampled_from(names)
    )


_HIDDEN_PATHS = _in((*CLOSED, *CLOSABLE), ("h0", "h1", "s"))
# in a directory that one may pass through, one may look at what one knows the name of: no secret
_SECRET_PATHS = _in((*CLOSED[:2], WAY), ("h0", "h1", "h2", "s"))
HIDDEN_KINDS = (
    "write", "write", "write", "delete", "mkdir", "mkdir", "rmdir", "rename", "rename", "read",
    "list", "chmod", "chgrp", "symlink", "xattr", "acl", "acl-open", "lock",
)  # fmt: skip
HIDDEN = st.builds(Hidden, st.sampled_from(HIDDEN_KINDS), _HIDDEN_PATHS, _HIDDEN_PATHS)

_OPEN_PATHS = _in(OPEN, ("v0", "v1", "d"))
VISIBLE_KINDS = (
    "write", "write", "delete", "mkdir", "rename", "read", "chmod", "chgrp", "acl", "symlink",
    "xattr",
)  # fmt: skip
VISIBLE = st.one_of(
    st.builds(Visible, st.sampled_from(VISIBLE_KINDS), _OPEN_PATHS, _OPEN_PATHS),
    st.builds(Visible, st.sampled_from(["out", "in"]), _OPEN_PATHS, st.sampled_from(CLOSED[:3])),
    st.builds(
        Visible,
        st.just("close"),
        st.sampled_from(CLOSABLE),
        st.sampled_from([*WAYS_TO_CLOSE, "move"]),
    ),
    st.builds(Visible, st.just("reopen"), st.sampled_from(CLOSABLE), st.just("")),
)
_LOOKED_AT = st.one_of(
    st.sampled_from([*OPEN, *CLOSED[:3], LINK, WAY, "/", "/absent"]), _SECRET_PATHS, _OPEN_PATHS
)
_EXTRAS = (
    "{}", "{}", '{"details":true}', '{"include":["h*","**/h*"]}', '{"snapshot":true}',
    '{"snapshot":true,"details":true}', '{"min_size":1}',
    '{"flags":["IN_CREATE","IN_MOVE","IN_ONESHOT"]}',
    '{"flags":["IN_ALL_EVENTS","IN_DONT_FOLLOW"]}', '{"flags":["IN_ALL_EVENTS","IN_ONLYDIR"]}',
)  # fmt: skip
_WATCHED = st.one_of(st.sampled_from(OPEN), _LOOKED_AT)
SUBSCRIBE = st.one_of(
    st.builds(Subscribe, _WATCHED, st.just("inotify"), st.booleans(), st.sampled_from(_EXTRAS)),
    st.builds(
        Subscribe,
        _WATCHED,
        st.sampled_from(["transfer", "replication"]),
        st.booleans(),
        st.sampled_from(_EXTRAS[:4]),
    ),
)
DAV = (
    "PROPFIND", "PROPFIND", "GET", "HEAD", "OPTIONS", "LOCK", "LOCK", "DELETE", "MOVE", "COPY",
    "PUT", "MKCOL",
)  # fmt: skip
_TRIED = (
    "DELETE", "DELETE", "DELETE", "mkdir", "mv", "chmod", "chgrp", "acl", "symlink", "set-xattr",
    "rm-label",
)  # fmt: skip
STEPS: st.SearchStrategy[Step] = st.one_of(
    VISIBLE,
    VISIBLE,
    VISIBLE,
    st.builds(Ask, _LOOKED_AT, st.just("")),
    st.builds(Ask, st.sampled_from(CLOSED[:3]), st.just("")),
    st.builds(
        Ask,
        st.one_of(_SECRET_PATHS, _OPEN_PATHS, st.sampled_from(OPEN)),
        st.sampled_from(_TRIED),
    ),
    st.builds(
        Dav,
        st.sampled_from(DAV),
        st.one_of(_LOOKED_AT, st.sampled_from([*OPEN, *CLOSED[:3], "/"])),
        st.sampled_from(["0", "1", "infinity"]),
    ),
    SUBSCRIBE,
    SUBSCRIBE,
    st.builds(Unsubscribe, st.integers(0, 3)),
    st.builds(Lists),
    *[
        st.builds(
            Reconnect,
            st.lists(VISIBLE, max_size=4).map(tuple),
            st.sampled_from(["", "id", "id", "cursor"]),
            st.integers(0, 12),
        )
    ]
    * 2,
)


class Pair(NamedTuple):
    """Two histories that differ only in what is hidden.

    Attributes:
        steps: what both have.
        one: what bob does in the first, before each step, or in the middle of a `Reconnect`.
        other: what he does in the second.
        ground: what both begin with.
    """

    steps: list[Step]
    one: list[list[Hidden]]
    other: list[list[Hidden]]
    ground: Ground
