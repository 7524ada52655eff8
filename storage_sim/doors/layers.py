"""What stands between the WebDAV door's gate and WsgiDAV."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from storage_sim.doors.digests import Digests
from storage_sim.doors.macaroon_request import MacaroonRequests
from storage_sim.doors.remote import Gate
from storage_sim.doors.third_party_copy import ThirdPartyCopies

if TYPE_CHECKING:
    from collections.abc import Sequence

    from storage_sim.doors.webdav import Layer
    from storage_sim.macaroon_keys import MacaroonKeys
    from storage_sim.storage import Storage


def layers(
    storage: Storage,
    keys: MacaroonKeys,
    *,
    macaroons_over_http: str,
    copy_networks: Sequence[str],
    copy_ca: str = "",
    copy_timeout_s: float = 60.0,
    copies_at_once: int = 16,
) -> Sequence[Layer]:
    """Return macaroon requests, third-party copies and digests, the outermost first.

    Args:
        storage: what is behind the door.
        keys: what macaroons are signed with.
        macaroons_over_http: who may ask for one without TLS: `none` or `loopback`.
        copy_networks: addresses and networks that third-party copies may be made with.
        copy_ca: file or directory of certificates for that; empty: the system's.
        copy_timeout_s: for how long the other side may keep silent, in seconds.
        copies_at_once: third-party copies at once, fewer than the door has threads.
    """
    is_directory = copy_ca.endswith("/")
    tls = ssl.create_default_context(
        cafile=None if is_directory or not copy_ca else copy_ca,
        capath=copy_ca if is_directory else None,
    )
    gate = Gate(tuple(copy_networks), timeout_s=copy_timeout_s, tls=tls)
    return [
        lambda inside: MacaroonRequests(inside, keys=keys, plain_http=macaroons_over_http),
        lambda inside: ThirdPartyCopies(
            inside, storage=storage, gate=gate, max_running=copies_at_once
        ),
        lambda inside: Digests(inside, storage=storage),
    ]
