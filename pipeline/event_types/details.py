"""What is told beside an event where the selector asks for details.

Nothing is told here that a reader of the event could not find out with a look at the object, but
who did it: that is told to the doer, to the object's owner and to administrators.
"""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING, Any

from pipeline.authz.principal import ROOT_UID

if TYPE_CHECKING:
    from collections.abc import Mapping

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


def may_know_who(watch: Watch, owner_uid: int | None, user: str) -> bool:
    """Whether who subscribed may be told that `user` did something to an object of that owner."""
    if watch.reader_uid is None:
        return False
    return watch.reader_uid in {ROOT_UID, owner_uid} or watch.reader == user


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
            "user": user if may_know_who(watch, owner_uid, user) else None,
        }
    )
