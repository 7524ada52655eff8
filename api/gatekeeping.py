"""Delivery's questions to the storage: is this still somebody, may they still watch that."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from api import problems, storage_client
from pipeline.authz import caveats, paths

if TYPE_CHECKING:
    from typing import Any

    from api.auth import Authenticator, Caller
    from api.channels import Place
    from api.places import Found, Whereabouts
    from api.storage_client import StorageClient
    from pipeline.authz.principal import Principal


def may_watch(found: Found, principal: Principal) -> bool:
    """Whether a user may watch what was found: the storage says so, and the token leaves it.

    A directory must be listable (activity LIST), anything else readable (DOWNLOAD).
    """
    activity = caveats.LIST if found.place.is_directory else caveats.DOWNLOAD
    return found.may_watch and all(
        caveats.may_act(principal.restrictions, one, found.place.path)
        for one in (activity, caveats.READ_METADATA)
    )


class StorageGatekeeper:
    """Asks the storage in the name of a connection's caller.

    Args:
        authenticator: finds out who somebody is.
        storage: the one authority.
    """

    def __init__(self, authenticator: Authenticator, storage: StorageClient) -> None:
        self._authenticator = authenticator
        self._storage = storage

    async def principal(self, credentials: Any, *, fresh_s: float) -> Principal | None:
        """Return who the connection's credentials belong to now; None: they no longer count.

        Also when the storage will not say, because their user's password is being guessed: else
        whoever is not let in any more could go on reading by guessing.
        """
        caller = cast("Caller", credentials)
        try:
            return await self._authenticator.again(caller, fresh_s=fresh_s)
        except problems.Problem:
            return None

    async def path_of(self, inode: bytes) -> Whereabouts:
        """Say where an object is, whoever may see it; never for the eyes of a user."""
        return await self._storage.path_of(inode)

    async def place(self, credentials: Any, path: str, *, follow: bool) -> Place | None:
        """Look a storage path up as that user; None when they may not watch it (any more)."""
        caller = cast("Caller", credentials)
        root = caller.principal.restrictions.root
        if not paths.is_below(path, root):
            return None
        seen = path[len(root.rstrip("/")) :] or "/"
        try:
            found = await self._storage.look_up(
                caller.credential, caller.address, seen, follow=follow
            )
        except storage_client.NotVisible:
            return None
        return found.place if may_watch(found, caller.principal) else None
