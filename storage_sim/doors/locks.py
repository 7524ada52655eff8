"""Locks of WebDAV that tell nothing of what is hidden, and hold nobody up who may write.

WsgiDAV 4.4 lets everybody lock what they can look at, and everything below: `LOCK /` would stop
all uploads. And it names whatever is locked, or is being uploaded, below what somebody asks about.
Here one locks what one may write; deeply, what one may list to its end; and locks that one could
not find by listing hold one up as little as they are told.
"""

from __future__ import annotations

import contextlib
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from wsgidav.dav_error import HTTP_FORBIDDEN, HTTP_LOCKED, DAVError
from wsgidav.lock_man.lock_manager import LockManager, normalize_lock_root
from wsgidav.lock_man.lock_storage import LockStorageDict

from pipeline.authz import caveats, paths, scope
from storage_sim.errors import OperationFailed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pipeline.authz.principal import Principal
    from storage_sim.storage import Storage

PER_USER: Final = 1000
"""The most locks that a user has at once; they are kept in memory (`locks-per-user`)."""

_DEEP_MAX: Final = 10_000
_TOO_MANY: Final = 429
_asking: ContextVar[Principal] = ContextVar("who makes the request")


@contextlib.contextmanager
def asked_by(principal: Principal) -> Iterator[None]:
    """Have all questions about locks within be this user's."""
    before = _asking.set(principal)
    try:
        yield
    finally:
        _asking.reset(before)


def may_lock(storage: Storage, principal: Principal, path: str, *, is_deep: bool) -> bool:
    """Whether a user may lock an object.

    A file that they may write; a directory in which they may, and from which nobody keeps them
    (the sticky bit). With all that is below only if they may list it to its end: what is locked
    there would tell of what is hidden, and hold up others where they themselves may not go.

    Args:
        storage: where it is.
        principal: the user.
        path: as the user calls it.
        is_deep: with all that is below.
    """
    try:
        place = storage.stat(principal, path)
    except OperationFailed:
        return False
    inode, permission = place.found, place.found.permission
    activity = caveats.MANAGE if inode.is_directory else caveats.UPLOAD
    if not caveats.may_act(principal.restrictions, activity, place.path):
        return False
    if not inode.is_directory:
        return scope.allows(principal, permission, "w")
    is_own = principal.is_root or principal.uid == inode.uid
    if not scope.allows(principal, permission, "wx") or (inode.mode & scope.STICKY and not is_own):
        return False
    return not is_deep or storage.sees_all(principal, path, most=_DEEP_MAX)


class _Kept(LockStorageDict):  # type: ignore[misc] # WsgiDAV has no types
    """Locks in memory, each of the object that it was made for.

    WsgiDAV keeps them by path; what was removed or moved at another door would leave its lock to
    whatever gets its name.
    """

    def __init__(self, storage: Storage) -> None:
        super().__init__()
        self._files = storage

    def create(self, path: str, lock: dict[str, Any]) -> Any:
        """Keep a new lock."""
        lock["object"] = self._object(path)
        return super().create(path, lock)

    def get_lock_list(self, path: str, *, token_only: bool, **which: bool) -> list[Any]:
        """Return the locks of a path, or of what is below it, too; those left over are dropped."""
        alive = []
        for lock in super().get_lock_list(path, token_only=False, **which):
            if self._object(lock["root"]) == lock["object"]:
                alive.append(lock["token"] if token_only else lock)
            else:
                self.delete(lock["token"])
        return alive

    def _object(self, url: str) -> bytes | None:
        return self._files.object_at(unquote(normalize_lock_root(url)))


class Locks(LockManager):  # type: ignore[misc] # WsgiDAV has no types
    """WsgiDAV's locks; asked within `asked_by`.

    Args:
        storage: knows what is hidden.
    """

    def __init__(self, storage: Storage) -> None:
        super().__init__(_Kept(storage))
        self._files = storage

    def acquire(self, *, principal: str, **lock: Any) -> Any:
        """Lock something.

        Raises:
            DAVError: 423 for what is locked, 429 for who has too many.
        """
        kept = self.storage.get_lock_list(
            "/", include_root=True, include_children=True, token_only=False
        )
        if sum(one["principal"] == principal for one in kept) >= PER_USER:
            raise DAVError(_TOO_MANY, f"locks-per-user: at most {PER_USER}")
        return super().acquire(principal=principal, **lock)

    def refresh(self, token: str, *, timeout: float | None = None) -> Any:
        """Let a lock live longer.

        Raises:
            DAVError: 403, it is another user's.
        """
        if not self.is_token_locked_by_user(token, _asking.get().user):
            raise DAVError(HTTP_FORBIDDEN, "the lock is another user's")
        return super().refresh(token, timeout=timeout)

    def _check_lock_permission(self, url: str, *asked: Any) -> None:
        try:
            super()._check_lock_permission(url, *asked)
        except DAVError as error:
            if error.value != HTTP_LOCKED or self._told(url, error.err_condition).hrefs:
                raise

    def _get_write_conflicts(self, url: str, *asked: Any) -> Any:
        return self._told(url, super()._get_write_conflicts(url, *asked))

    def _told(self, url: str, conflicts: Any) -> Any:
        """Leave of conflicts those that whoever asks about `url` may know of."""
        conflicts.hrefs = [root for root in conflicts.hrefs if self._is_told(url, root)]
        return conflicts

    def _is_told(self, url: str, root: str) -> bool:
        here, there = (unquote(normalize_lock_root(one)) for one in (url, root))
        return paths.is_below(here, there) or self._files.may_find(_asking.get(), there, here)
