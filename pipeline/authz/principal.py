"""Who somebody is, and what their token leaves of what they may."""

from __future__ import annotations

import hashlib
import weakref
from dataclasses import dataclass, field
from typing import Final

ROOT_UID: Final = 0


@dataclass(frozen=True, slots=True)
class Restrictions:
    """What a token takes away from its user.

    Attributes:
        root: directory that the user sees as `/` (macaroon caveat `root`), absolute, storage path.
        path: only this path and what is below is visible (caveats `path`, WLCG scopes), storage
            path (the root is already part of it).
        activities: the activities left (caveat `activity`), READ_METADATA always among them;
            None: all.
        addresses: networks the client must come from, one tuple for each `ip` caveat, all must
            match; empty: anywhere.
        expires_s: epoch seconds at which the token ends; None: never.
        max_upload_bytes: the largest upload; None: any.
        granted: for tokens that grant activities for several paths (WLCG scopes): pairs of
            (activities, path), any of which suffices; empty: `path` and `activities` decide.
        groups: the groups that the token names, in order: it has fewer rights than one of its
            user's that names more.
    """

    root: str = "/"
    path: str = "/"
    activities: frozenset[str] | None = None
    addresses: tuple[tuple[str, ...], ...] = ()
    expires_s: float | None = None
    max_upload_bytes: int | None = None
    granted: tuple[tuple[frozenset[str], str], ...] = ()
    groups: tuple[str, ...] = ()

    @property
    def confines(self) -> bool:
        """Whether any path or activity is taken away at all."""
        everything = ("/", "/", None, ())
        return (self.root, self.path, self.activities, self.granted) != everything

    def fingerprint(self) -> str:
        """Return 16 hex digits that are equal for equal rights, whenever the token expires."""
        if not (self.confines or self.addresses or self.groups):
            return ""
        granted = sorted((sorted(activities), path) for activities, path in self.granted)
        activities = None if self.activities is None else sorted(self.activities)
        rights = (self.root, self.path, activities, self.addresses, granted, self.groups)
        return hashlib.sha256(repr(rights).encode()).hexdigest()[:16]


UNRESTRICTED: Final = Restrictions()


class Decisions(dict[str, bool]):
    """What was decided about scopes; shared by all principals for whom it must be the same."""


_decisions: weakref.WeakValueDictionary[tuple[int, tuple[int, ...], bool], Decisions] = (
    weakref.WeakValueDictionary()
)


@dataclass(frozen=True, slots=True)
class Principal:
    """A user as the storage knows them, with the restrictions of the token they came with.

    Attributes:
        user: user name.
        uid: numeric user id.
        gids: group ids, the primary one first.
        roles: asserted roles, e.g. `admin`.
        restrictions: what the token takes away.
        home: home directory.
        decisions: the memory of `pipeline.authz.scope.may_see`; no part of who somebody is.
    """

    user: str
    uid: int
    gids: tuple[int, ...]
    roles: frozenset[str] = frozenset()
    restrictions: Restrictions = UNRESTRICTED
    home: str = "/"
    decisions: Decisions = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        key = (self.uid, self.gids, self.is_root)
        object.__setattr__(self, "decisions", _decisions.setdefault(key, Decisions()))

    @property
    def is_root(self) -> bool:
        """Whether no permission is asked of them: uid 0 or the admin role."""
        return self.uid == ROOT_UID or "admin" in self.roles

    @property
    def owner_key(self) -> str:
        """What a channel belongs to: the user *and* the rights it was made with.

        The admin role is one of them: snapshots and subscriptions that were made with it tell
        names that the user may not see without.
        """
        owner = str(self.uid)
        if self.is_root and self.uid != ROOT_UID:
            owner += "#admin"
        fingerprint = self.restrictions.fingerprint()
        return f"{owner}:{fingerprint}" if fingerprint else owner
