"""The named URLs of a trigger: which paths, and a macaroon for each."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from pipeline.ingest import triggers
from pipeline.signed_urls import SignedUrls

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

    from pipeline.ingest.rules import Rule, RuleSet


class TriggerUrls:
    """Makes the URLs of triggers, whatever storage they are about.

    Args:
        rules: the storages, and whose macaroons are handed out.
        client: what speaks HTTP to the storages.
        clock: epoch seconds.
    """

    def __init__(
        self, rules: RuleSet, client: httpx.AsyncClient, clock: Callable[[], float] = time.time
    ) -> None:
        self._signed = {
            name: SignedUrls(storage, client, clock) for name, storage in rules.storages.items()
        }

    async def make(self, rule: Rule, storage: str, path: str) -> dict[str, str]:
        """Return the URLs that `rule` gives for an uploaded file.

        Args:
            rule: whose URLs.
            storage: the name of the storage that has the file.
            path: the file.

        Raises:
            BadRecord: a path cannot be derived.
            Refused: a directory that is missing may not be made.
            Unavailable: the storage is away.
        """
        signed = self._signed[storage if storage in self._signed else ""]
        found = {}
        paths = triggers.paths(rule, path)
        for named in rule.urls:
            if named.create_path:
                await signed.make_parents(paths[named.name])
            found[named.name] = await signed.url(
                named.activities, paths[named.name], lifetime_s=named.lifetime_s
            )
        return found
