"""Checksums in HTTP answers, where a request wants them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from schemas import digests
from storage_sim.doors.dav_resource import PRINCIPAL
from storage_sim.errors import OperationFailed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from pipeline.authz.principal import Principal
    from storage_sim.storage import Storage

_METHODS: Final = frozenset({"GET", "HEAD", "PUT"})


class Digests:
    """WSGI middleware that adds `Digest` and `Repr-Digest` to answers where they are wanted.

    Args:
        application: what answers.
        storage: whose files they are.
    """

    def __init__(self, application: WSGIApplication, *, storage: Storage) -> None:
        self._application = application
        self._storage = storage

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer, with digests where they are asked for."""
        plain = digests.wanted(environ.get("HTTP_WANT_DIGEST", ""))
        modern = digests.wanted_repr(environ.get("HTTP_WANT_REPR_DIGEST", ""))
        if environ.get("REQUEST_METHOD") not in _METHODS or not (plain or modern):
            return self._application(environ, start_response)
        # WsgiDAV decodes it in place, so it is read before.
        path = environ.get("PATH_INFO", "/").encode("latin-1").decode()
        who = environ[PRINCIPAL]

        def start(status: str, headers: list[tuple[str, str]], *error: object) -> object:
            if status.startswith("2"):
                known = self._checksums(who, path)
                if plain and (value := known.get(digests.ALGORITHMS[plain])):
                    headers = [*headers, ("Digest", digests.encode(plain, value))]
                if modern and (value := known.get(digests.ALGORITHMS[modern])):
                    headers = [*headers, ("Repr-Digest", digests.encode_repr(modern, value))]
            return start_response(status, headers, *error)  # type: ignore[arg-type]

        return self._application(environ, start)  # type: ignore[arg-type]

    def _checksums(self, who: Principal, path: str) -> Mapping[str, str]:
        try:
            found = self._storage.stat(who, path).found
        except OperationFailed:
            return {}
        return digests.as_dict(found.checksums.split())
