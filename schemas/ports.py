"""Binding a process's port before it begins, so that one that is taken is told in a sentence."""

from __future__ import annotations

import os
import socket

from schemas.errors import SettingsError


def listen(variable: str, host: str, port: int, *, backlog: int) -> socket.socket:
    """Bind a TCP port and listen.

    Args:
        variable: the setting that chose the port; named when it cannot be had.
        host: an address or a name of this machine.
        port: 0: any free one.
        backlog: connections that may wait to be accepted.

    Raises:
        SettingsError: the port is taken, or not ours.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=backlog)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
        raise SettingsError(f"{variable}: cannot listen at {host}:{port}: {reason}") from error
