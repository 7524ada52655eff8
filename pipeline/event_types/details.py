"""What is told beside an event where the selector asks for details.

Nothing is told here that a reader of the event could not find out with a look at the object, but
who did it: that is told to the doer, to the object's owner and to administrators.
"""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.authz.principal import Principal
    from pipeline.event_types.base import Watch

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def timestamp(time_us: int) -> str:
    """Write epoch microseconds as RFC 3339, in UTC."""
    moment = _EPOCH + dt.timedelta(microseconds=time_us)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def clients_path(watch: Watch, name: str | None) -> str:
    """Return where an object is, in the words of the client: the path it watches, and the name.

    Not the storage's path: that could tell names above the watch that the client may not list.
    """
    parts = [part for part in (*watch.path.split("/"), name) if part]
    return "/" + "/".join(parts)


def may_know_who(reader: Principal | None, owner_uid: int | None, user: str) -> bool:
    """Whether a reader may be told who did something to an object of that owner."""
    return reader is not None and (
        reader.is_root or reader.uid == owner_uid or reader.user == user
    )


def write(members: Mapping[str, Any]) -> str:
    """Write the members that have a value as compact ASCII JSON."""
    present = {name: value for name, value in members.items() if value not in (None, [], "")}
    return json.dumps(present, separators=(",", ":"))


def inotify(message: Mapping[str, Any], name: str | None, watch: Watch) -> str:
    """Return the `details` of an inotify event.

    Args:
        message: the message.
        name: the event's name, if it has one.
        watch: whose subscription it is told to.
    """
    owner_uid, user = message["owner_uid"], message["user"]
    return write(
        {
            "path": clients_path(watch, name),
            "time": timestamp(message["time_us"]),
            "operation": message["kind"],
            "size": message["size_bytes"],
            "checksums": message["checksums"],
            "locality": message["locality"],
            "owner": owner_uid,
            "user": user if may_know_who(watch.reader, owner_uid, user) else None,
        }
    )
