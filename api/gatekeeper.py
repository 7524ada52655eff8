"""The port through which delivery asks whether somebody may still see: the storage decides."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from api.channels import Place
    from api.places import Whereabouts
    from pipeline.authz.principal import Principal


class Gatekeeper(Protocol):
    """Asks the storage with a connection's own credentials; raises `Unavailable` when it is away.

    `credentials` is whatever was handed to `Hub.connect`; delivery does not look into it.
    """

    async def principal(self, credentials: Any, *, fresh_s: float) -> Principal | None:
        """Return who the credentials belong to now; None when they are no longer accepted.

        Args:
            credentials: the connection's.
            fresh_s: an answer that is not older than this may be taken, in seconds.
        """

    async def place(self, credentials: Any, path: str, *, follow: bool) -> Place | None:
        """Look a storage path up as that user.

        Args:
            credentials: the connection's.
            path: absolute storage path.
            follow: whether a symlink at its end is followed.

        Returns:
            Where it is now; None when it is absent or this user may not watch it.
        """

    async def path_of(self, inode: bytes) -> Whereabouts:
        """Say where an object is, whoever may see it; never for the eyes of a user."""
