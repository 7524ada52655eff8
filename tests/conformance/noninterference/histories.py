"""Histories: what everybody does and alice asks, and what bob does where alice cannot look."""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import strategies as st

OPEN = ("/pub", "/pub/own", "/pub/x/open")
"""Directories that alice may list; `/pub/x` above the last one she may only pass through."""

CLOSED = ("/hid", "/pub/hid", "/pub/x", "/pub/hid/s", "/pub/x/s")
"""Directories that alice may not list; those that end in `s` may be there or not."""

CLOSABLE = OPEN[1:]
"""Directories that a step may close to alice; what is done there afterwards is hidden."""

LINK = "/pub/own/link"
"""A symbolic link to something hidden that may be there or not."""


class Hidden(NamedTuple):
    """One operation of bob's on what alice may not see.

    Attributes:
        kind: write, delete, mkdir, rmdir, rename, read, list, chmod, xattr, acl.
        path: what.
        other: the target of a rename.
    """

    kind: str
    path: str
    other: str


class Visible(NamedTuple):
    """One operation that alice may see.

    Attributes:
        kind: write, delete, mkdir, rename, read, chmod, xattr, out (to a hidden place), in (from
            there), close (a directory is closed to alice).
        path: what.
        other: the target of a rename.
    """

    kind: str
    path: str
    other: str


class Ask(NamedTuple):
    """Alice asks for a path's entry."""

    path: str


class Subscribe(NamedTuple):
    """Alice subscribes.

    Attributes:
        path: to what.
        event_type: kind of event.
        recursive: everything below, too.
        extra: details or snapshot or neither.
    """

    path: str
    event_type: str
    recursive: bool
    extra: str


class Lists(NamedTuple):
    """Alice lists her subscriptions."""


class Reconnect(NamedTuple):
    """Alice's connection breaks, things go on, and she comes back.

    Attributes:
        meanwhile: what everybody did while she was away.
        resume: whether she tells the last id she got.
    """

    meanwhile: tuple[Visible, ...]
    resume: bool


Step = Visible | Ask | Subscribe | Lists | Reconnect

_NAMES = st.sampled_from(["h0", "h1", "h2", "s"])

SECRETS = (*CLOSED[:3], *(f"{folder}/{name}" for folder in CLOSED[:2] for name in ("h0", "s")))
"""What alice asks for in the end; she must not find out what of it is there."""
_HIDDEN_PATHS = st.builds(
    lambda folder, name: f"{folder}/{name}", st.sampled_from([*CLOSED, *CLOSABLE]), _NAMES
)
# in a directory that one may pass through, one may look at what one knows the name of: no secret
_SECRET_PATHS = st.builds(
    lambda folder, name: f"{folder}/{name}", st.sampled_from(["/hid", "/pub/hid"]), _NAMES
)
_HIDDEN_KINDS = (
    "write", "write", "write", "delete", "mkdir", "mkdir", "rmdir", "rename", "rename", "read",
    "list", "chmod", "xattr", "acl",
)  # fmt: skip
HIDDEN = st.builds(Hidden, st.sampled_from(_HIDDEN_KINDS), _HIDDEN_PATHS, _HIDDEN_PATHS)

_OPEN_PATHS = st.builds(
    lambda folder, name: f"{folder}/{name}",
    st.sampled_from(OPEN),
    st.sampled_from(["v0", "v1", "d"]),
)
VISIBLE = st.one_of(
    st.builds(
        Visible,
        st.sampled_from(["write", "write", "delete", "mkdir", "rename", "read", "chmod", "xattr"]),
        _OPEN_PATHS,
        _OPEN_PATHS,
    ),
    st.builds(Visible, st.sampled_from(["out", "in"]), _OPEN_PATHS, st.sampled_from(CLOSED[:3])),
    st.builds(Visible, st.just("close"), st.sampled_from(CLOSABLE), st.just("")),
)
_ASKED = st.one_of(
    st.sampled_from([*OPEN, *CLOSED[:3], LINK, "/", "/absent"]), _SECRET_PATHS, _OPEN_PATHS
)
STEPS: st.SearchStrategy[Step] = st.one_of(
    VISIBLE,
    VISIBLE,
    VISIBLE,
    st.builds(Ask, _ASKED),
    st.builds(Ask, st.sampled_from(CLOSED[:3])),
    st.builds(
        Subscribe,
        _ASKED,
        st.sampled_from(["inotify", "inotify", "transfer", "replication"]),
        st.booleans(),
        st.sampled_from(["", "details", "snapshot"]),
    ),
    st.builds(Lists),
    st.builds(Reconnect, st.lists(VISIBLE, max_size=4).map(tuple), st.booleans()),
)


class Pair(NamedTuple):
    """Two histories that differ only in what is hidden.

    Attributes:
        steps: what both have.
        one: what bob does in the first, before each step.
        other: what he does in the second.
    """

    steps: list[Step]
    one: list[list[Hidden]]
    other: list[list[Hidden]]


_BOBS = st.lists(st.lists(HIDDEN, max_size=4), min_size=10, max_size=10)
PAIRS = st.builds(Pair, st.lists(STEPS, min_size=1, max_size=10), _BOBS, _BOBS)
