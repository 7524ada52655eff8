"""gfal2, the library that FTS and Rucio copy with, between two of our storages."""

from __future__ import annotations

import os
import subprocess
import zlib
from typing import TYPE_CHECKING

import pytest

from tests.sites import Site

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120), pytest.mark.programs("gfal-copy")]

CONTENT = os.urandom(1_000_000)
ADLER32 = f"{zlib.adler32(CONTENT):08x}"


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Site, Site]]:
    """Two storages that take the same macaroon: gfal has one bearer token for both."""
    folder = tmp_path_factory.mktemp("sites")
    a = Site(folder, "a")
    a.put("/data/f", CONTENT)
    a.macaroon()
    b = Site(folder, "b", keys=folder / "a-keys.json")
    b.put("/data/f", CONTENT)
    yield a, b
    a.close()
    b.close()


def gfal(site: Site, *command: str) -> str:
    """Run a gfal command (its scripts want Debian's Python)."""
    program, *arguments = command
    run = subprocess.run(
        ["/usr/bin/python3", f"/usr/bin/{program}", *arguments],
        env={**os.environ, "BEARER_TOKEN": site.macaroon()},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


def dav(site: Site, path: str) -> str:
    return f"dav://127.0.0.1:{site.port}{path}"


@pytest.mark.parametrize("way", ["there", "back"])
@pytest.mark.parametrize("mode", ["pull", "push"])
def test_gfal_copy_makes_directories_copies_and_compares(
    sites: tuple[Site, Site], mode: str, way: str
) -> None:
    a, b = sites if way == "there" else sites[::-1]
    target = f"/data/{mode}-{way}/f"
    gfal(
        a, "gfal-copy", "-f", "-p", "--checksum", f"ADLER32:{ADLER32}", "--copy-mode", mode,
        dav(a, "/data/f"), dav(b, target),
    )  # fmt: skip
    assert b.get(target) == CONTENT
    assert gfal(b, "gfal-sum", dav(b, target), "ADLER32").split()[-1] == ADLER32


def test_gfal_ls_sees_what_is_there(sites: tuple[Site, Site]) -> None:
    a, _ = sites
    assert "f" in gfal(a, "gfal-ls", dav(a, "/data")).split()
