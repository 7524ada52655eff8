"""One structured line for each decision about somebody: who, what, from where, decided how.

Lines are JSON objects on the logger `storage_events.audit`. They hold user names, addresses and
paths, never a password, a token, a query string or a header.
"""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pipeline.authz.principal import Principal

LOGGER: Final = logging.getLogger("storage_events.audit")
_TEXT_LIMIT: Final = 1024


def line(
    action: str,
    decision: str,
    *,
    who: Principal | None,
    address: str,
    **details: str | float | None,
) -> None:
    """Write one audit line.

    Args:
        action: what was asked, e.g. `subscribe`.
        decision: `allowed` or `refused`.
        who: the user; None for somebody unknown.
        address: the client's address.
        details: further members; None is left out, long text is cut.
    """
    content: dict[str, object] = {"action": action, "decision": decision, "address": address}
    if who is not None:
        content |= {"user": who.user, "uid": who.uid}
        if fingerprint := who.restrictions.fingerprint():
            content["restrictions"] = fingerprint
    content |= {
        name: value[:_TEXT_LIMIT] if isinstance(value, str) else value
        for name, value in details.items()
        if value is not None
    }
    LOGGER.info(json.dumps(content))
