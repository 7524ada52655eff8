"""Whether the readers of open streams are still who they were: asked again and again.

Users leave groups, passwords are changed, tokens are withdrawn; the storage knows. What it said is
believed for `cached_s`: within that time after a change every stream has heard of it. So each
stream asks anew well before, and takes no answer that is much older.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from schemas.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from api.delivery_session import Session
    from api.gatekeeper import Gatekeeper

logger = logging.getLogger(__name__)

_LOOK: Final = 0.1
_ASK: Final = 0.6
_FRESH: Final = 0.2
"""Parts of `cached_s`: how often is looked, after which time asked, how old an answer may be."""

_AT_ONCE: Final = 16
_SHORTEST_S: Final = 1.0


class Confirmer:
    """Asks who the readers of a node's streams are.

    Args:
        gatekeeper: whom it asks.
        streams: gives the open streams.
        cached_s: how long an answer is believed, in seconds; a second at least.
    """

    def __init__(
        self,
        gatekeeper: Gatekeeper,
        streams: Callable[[], Iterable[Session]],
        cached_s: float,
    ) -> None:
        self._gatekeeper = gatekeeper
        self._streams = streams
        self._cached_s = max(cached_s, _SHORTEST_S)
        self._gate = asyncio.Semaphore(_AT_ONCE)

    async def run(self) -> None:
        """Ask for ever, each stream in its turn."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_LOOK * self._cached_s)
            before_s = loop.time() - _ASK * self._cached_s
            due = [one for one in self._streams() if one.confirmed_s <= before_s]
            if due:
                await asyncio.gather(*(self._confirm(one) for one in due))

    async def _confirm(self, stream: Session) -> None:
        """Ask about one; what goes wrong with it must not keep the others from being asked."""
        async with self._gate:
            if stream.finished:
                return
            began_s = asyncio.get_running_loop().time()
            try:
                principal = await self._gatekeeper.principal(
                    stream.credentials, fresh_s=_FRESH * self._cached_s
                )
            except Unavailable:
                return  # the storage is away: what it said last counts
            except Exception:
                logger.exception("a reader could not be asked about")
                return
            stream.confirmed_s = began_s
            stream.confirm(principal)
