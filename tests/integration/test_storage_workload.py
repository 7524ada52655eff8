"""Workloads at a real door."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from schemas.errors import Unavailable
from storage_sim import workload, workload_client
from storage_sim.__main__ import main

if TYPE_CHECKING:
    from tests.integration.storage_doors import Doors


@pytest.mark.parametrize("kind", workload.KINDS)
def test_the_door_does_all_of_it(doors: Doors, kind: str) -> None:
    """No operation is refused, and each is told."""
    refused = workload_client.run(
        workload.KINDS[kind]("/data/exp", 7),
        url=doors.url,
        user="alice",
        password="alice-demo",
        count=200,
        rate_per_s=0,
    )
    assert refused == 0
    assert len([record for record in doors.records() if record["user"] == "alice"]) >= 200


def test_the_command(
    doors: Doors, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says what was done; refusals are its exit status."""
    monkeypatch.setenv("WORKLOAD_PASSWORD", "bob-demo")
    arguments = ["workload", "churn", "--url", doors.url, "--user", "bob", "--count", "20"]
    assert main([*arguments, "--below", "/home/bob"]) == 0
    assert "20 operations, 0 refused" in capsys.readouterr().out
    assert main([*arguments, "--below", "/home/alice"]) == 1


def test_a_door_that_is_shut() -> None:
    """It is told by its address."""
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:9"):
        workload_client.run(
            workload.churn("/data", 1),
            url="http://127.0.0.1:9",
            user="alice",
            password="x",
            count=1,
            rate_per_s=0,
        )
