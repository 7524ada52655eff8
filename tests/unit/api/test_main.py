"""`python -m api serve`: what it says when it cannot begin."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from api.__main__ import main

if TYPE_CHECKING:
    import pytest


def test_a_taken_port_is_told_in_a_sentence_and_ends_the_process(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setenv("API_PORT", str(port))

        status = main(["serve"])

    assert status == 2
    told = capsys.readouterr().err
    assert f"API_PORT: cannot listen at 127.0.0.1:{port}: Address already in use\n" in told
