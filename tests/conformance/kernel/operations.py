"""Random operations on a small tree: few names, so that they meet."""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import strategies as st

from schemas import vocabulary

DIRECTORIES = ("a", "b", "a/a", "b/a")
PATHS = (*DIRECTORIES, "f", "a/f", "b/f", "a/a/f", "a/a/g", "b/a/b", "l", "a/l")
TARGETS = ("a", "f", "a/f", "../b", "a/a", "nowhere", "l")

_EVENTS = sorted(vocabulary.EVENT_FLAGS)
_PATH = st.sampled_from(PATHS)


class Make(NamedTuple):
    """mkdir(2)."""

    path: str


class RemoveDirectory(NamedTuple):
    """rmdir(2)."""

    path: str


class Write(NamedTuple):
    """open, at most one write, close; `how`: overwrite, append or exclusive."""

    path: str
    size: int
    how: str


class Truncate(NamedTuple):
    """truncate(2)."""

    path: str
    size: int


class Read(NamedTuple):
    """open, read, close."""

    path: str


class ListDirectory(NamedTuple):
    """opendir, readdir, closedir."""

    path: str


class Unlink(NamedTuple):
    """unlink(2)."""

    path: str


class Rename(NamedTuple):
    """rename(2)."""

    source: str
    target: str


class Link(NamedTuple):
    """symlink(2)."""

    target: str
    path: str


class Chmod(NamedTuple):
    """chmod(2)."""

    path: str
    mode: int


class Times(NamedTuple):
    """utimensat(2), both times."""

    path: str


class SetXattr(NamedTuple):
    """setxattr(2)."""

    path: str


class RemoveXattr(NamedTuple):
    """removexattr(2)."""

    path: str


class AddWatch(NamedTuple):
    """inotify_add_watch(2)."""

    path: str
    flags: tuple[str, ...]


Operation = (
    Make | RemoveDirectory | Write | Truncate | Read | ListDirectory | Unlink | Rename | Link
    | Chmod | Times | SetXattr | RemoveXattr | AddWatch
)  # fmt: skip

FLAGS = st.one_of(
    st.just(("IN_ALL_EVENTS",)),
    st.builds(
        lambda events, modifiers: (*sorted(events), *sorted(modifiers)),
        st.sets(st.sampled_from([*_EVENTS, *vocabulary.MACRO_FLAGS]), min_size=1, max_size=6),
        st.sets(st.sampled_from(sorted(vocabulary.MODIFIER_FLAGS)), max_size=2),
    ),
)
_MODES = st.sampled_from([0o700, 0o755, 0o770, 0o1777])

OPERATIONS: st.SearchStrategy[Operation] = st.one_of(
    st.builds(Make, _PATH),
    st.builds(RemoveDirectory, _PATH),
    st.builds(Write, _PATH, st.integers(0, 2), st.sampled_from(["overwrite", "append"])),
    st.builds(Write, _PATH, st.integers(0, 2), st.sampled_from(["overwrite", "exclusive"])),
    st.builds(Truncate, _PATH, st.integers(0, 3)),
    st.builds(Read, _PATH),
    st.builds(ListDirectory, _PATH),
    st.builds(Unlink, _PATH),
    st.builds(Rename, _PATH, _PATH),
    st.builds(Rename, _PATH, _PATH),
    st.builds(Link, st.sampled_from(TARGETS), _PATH),
    st.builds(Chmod, _PATH, _MODES),
    st.builds(Times, _PATH),
    st.builds(SetXattr, _PATH),
    st.builds(RemoveXattr, _PATH),
    st.builds(AddWatch, _PATH, FLAGS),
    st.builds(AddWatch, st.sampled_from(("", *DIRECTORIES)), FLAGS),
)

START: tuple[Operation, ...] = (
    Make("a"), Make("b"), Make("a/a"), Write("a/f", 2, "overwrite"), Write("f", 1, "overwrite"),
)  # fmt: skip
