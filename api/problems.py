"""Every answer that is not a success: the only place that knows status codes and error bodies.

A body has both shapes that dCache's clients read (rule R23): `status`, `title`, `detail` of dCache
since 8.2, and `errors[0].message` of the versions before. What was refused because of a limit says
which one in `limit`.
"""

from __future__ import annotations

import http
import json
from typing import TYPE_CHECKING, Final

from starlette.exceptions import HTTPException
from starlette.responses import Response

from pipeline.event_types import base
from schemas.errors import BadRecord, Refused, Unavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

REALM: Final = "storage events"
SUPPRESS: Final = "Suppress-WWW-Authenticate"

_REASON_ONLY: Final = {401, 403, 429}
"""Statuses for which dCache's detail is the reason phrase and nothing else."""


class Problem(Refused):
    """A request is refused with a status, a detail for the client and a reason for the audit.

    Args:
        status: the HTTP status.
        detail: what the client is told.
        reason: what the audit line says; by default the detail. It never reaches the client.
        headers: further response headers.
        limit: the name of the limit that was reached.
        maximum: that limit's value.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        reason: str = "",
        headers: Mapping[str, str] | None = None,
        limit: str = "",
        maximum: float | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.reason = reason or detail
        self.headers = dict(headers or {})
        self.limit = limit
        self.maximum = maximum


def bad_request(detail: str, *, reason: str = "") -> Problem:
    """Return a 400: the request itself cannot be used."""
    return Problem(400, detail, reason=reason)


def unauthenticated(reason: str) -> Problem:
    """Return a 401; `reason` is for the audit, the client only learns that it was not let in."""
    return Problem(401, "Unauthorized", reason=reason)


def forbidden(reason: str) -> Problem:
    """Return a 403."""
    return Problem(403, "Forbidden", reason=reason)


def not_found(detail: str) -> Problem:
    """Return a 404."""
    return Problem(404, detail)


def limited(limit: str, maximum: float, *, retry_after_s: float | None = None) -> Problem:
    """Return a 429 that names the limit.

    Args:
        limit: its name, as in the documentation of limits.
        maximum: its value.
        retry_after_s: when a try may succeed; None where waiting does not help.
    """
    headers = {} if retry_after_s is None else {"Retry-After": str(max(1, round(retry_after_s)))}
    return Problem(
        429,
        "Too Many Requests",
        reason=f"limit {limit}: at most {maximum:g}",
        headers=headers,
        limit=limit,
        maximum=maximum,
    )


def too_large(limit: str, maximum_bytes: int) -> Problem:
    """Return a 413 that names the limit; the connection is closed, as the body is not read."""
    return Problem(
        413,
        f"Content Too Large: at most {maximum_bytes} bytes",
        headers={"Connection": "close"},
        limit=limit,
        maximum=maximum_bytes,
    )


def as_problem(error: Exception) -> Problem:  # noqa: PLR0911 - a table
    """Say an error in HTTP's words; what is of no known family becomes a 500 without details."""
    match error:
        case Problem():
            return error
        case Unavailable():
            return Problem(
                503,
                "Service Unavailable: try again later",
                reason=str(error),
                headers={"Retry-After": str(error.retry_after_s)},
            )
        case base.BadSelector():
            return bad_request(str(error))
        case BadRecord():
            return bad_request(str(error))
        case Refused():
            return forbidden(str(error))
        case HTTPException():
            phrase = http.HTTPStatus(error.status_code).phrase
            return Problem(error.status_code, error.detail or phrase, headers=error.headers)
        case _:
            return Problem(500, "Internal error", reason=f"bug: {type(error).__name__}")


def response(problem: Problem, request_headers: Mapping[str, str]) -> Response:
    """Make the answer: both error shapes in one flat-readable object, and the challenge of a 401.

    Args:
        problem: what went wrong.
        request_headers: the request's; `Suppress-WWW-Authenticate` takes the challenge away.
    """
    try:
        title = http.HTTPStatus(problem.status).phrase
    except ValueError:
        title = "Error"
    detail = title if problem.status in _REASON_ONLY else problem.detail
    status = str(problem.status)
    message = f"{detail}: {problem.limit}" if problem.limit else detail
    body: dict[str, object] = {"status": status, "title": title, "detail": detail}
    if problem.limit:
        body |= {"limit": problem.limit, "maximum": problem.maximum}
    body["errors"] = [{"message": message, "status": status}]
    headers = {"Content-Type": "application/json", **problem.headers}
    if problem.status == 401:
        if SUPPRESS.lower() in request_headers:
            headers[SUPPRESS] = "suppressed"
        else:
            headers["WWW-Authenticate"] = f'Basic realm="{REALM}"'
    return Response(json.dumps(body), problem.status, headers)
