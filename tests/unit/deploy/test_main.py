"""`python -m deploy.local`: what it says when it is interrupted."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from deploy.local import __main__ as command

if TYPE_CHECKING:
    import pytest


def test_ctrl_c_is_told_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "_up", interrupted)
    monkeypatch.setattr(sys, "argv", ["deploy.local", "up"])

    assert command.main() == 130
    assert "make down ends what was started" in capsys.readouterr().err
