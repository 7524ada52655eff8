"""Third-party copies with Debian's XRootD: either side asks, either way the bytes go."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.sites import Site
from tests.xrootd_site import XRootD

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120), pytest.mark.programs("xrootd")]

CONTENT = os.urandom(2_000_000)


@pytest.fixture(scope="module")
def xrootd() -> Iterator[XRootD]:
    with XRootD() as running:
        yield running


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, xrootd: XRootD) -> Iterator[Site]:
    running = Site(tmp_path_factory.mktemp("site"), "ours", copy_ca=str(xrootd.ca))
    running.put("/data/ours", CONTENT)
    yield running
    running.close()


@pytest.fixture(scope="module")
def theirs(xrootd: XRootD, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file of theirs."""
    file = tmp_path_factory.mktemp("theirs") / "file"
    file.write_bytes(CONTENT)
    url = f"{xrootd.url}/data/theirs"
    subprocess.run(["curl", "-fsS", "--cacert", str(xrootd.ca), "-T", str(file), url], check=True)
    return url


def copy(ca: Path, url: str, *headers: str) -> str:
    """Ask a door for a copy; return the last line of its answer."""
    asked = [part for header in headers for part in ("--header", header)]
    run = subprocess.run(
        ["curl", "-sS", "--cacert", str(ca), "--max-time", "60", "-X", "COPY", *asked, url],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return run.stdout.strip().splitlines()[-1]


def test_ours_pulls_from_theirs(site: Site, xrootd: XRootD, theirs: str) -> None:
    token = site.macaroon("/data/pulled", "activity:UPLOAD")
    last = copy(
        xrootd.ca,
        f"{site.url}/data/pulled",
        f"Authorization: Bearer {token}",
        f"Source: {theirs}",
        "Credential: none",
        "RequireChecksumVerification: true",
    )
    assert last == "success: Created"
    assert site.get("/data/pulled") == CONTENT


def test_theirs_pulls_from_ours(site: Site, xrootd: XRootD) -> None:
    token = site.macaroon("/data/ours", "activity:DOWNLOAD")
    last = copy(
        xrootd.ca,
        f"{xrootd.url}/data/pulled",
        f"TransferHeaderAuthorization: Bearer {token}",
        f"Source: {site.url}/data/ours",
        "Credential: none",
    )
    assert last == "success: Created"
    assert xrootd.file("pulled").read_bytes() == CONTENT


def davix(xrootd: XRootD, token: str, header: str, source: str, target: str) -> None:
    """Have davix ask the target's door to pull."""
    run = subprocess.run(
        [
            "davix-cp", "--capath", str(xrootd.folder / "certs"), "--copy-mode", "pull",
            "-H", f"{header}: Bearer {token}", source, target,
        ],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.programs("davix-cp")
def test_davix_has_ours_pull_from_theirs(site: Site, xrootd: XRootD, theirs: str) -> None:
    token = site.macaroon("/data/davix", "activity:UPLOAD,READ_METADATA")
    davix(xrootd, token, "Authorization", theirs, f"{site.url}/data/davix")
    assert site.get("/data/davix") == CONTENT


@pytest.mark.programs("davix-cp")
def test_davix_has_theirs_pull_from_ours(site: Site, xrootd: XRootD) -> None:
    token = site.macaroon("/data/ours", "activity:DOWNLOAD")
    target = f"{xrootd.url}/data/davix"
    davix(xrootd, token, "TransferHeaderAuthorization", f"{site.url}/data/ours", target)
    assert xrootd.file("davix").read_bytes() == CONTENT


def test_ours_pushes_to_theirs(site: Site, xrootd: XRootD) -> None:
    token = site.macaroon("/data/ours", "activity:DOWNLOAD")
    last = copy(
        xrootd.ca,
        f"{site.url}/data/ours",
        f"Authorization: Bearer {token}",
        f"Destination: {xrootd.url}/data/pushed",
        "Credential: none",
    )
    assert last == "success: Created"
    assert xrootd.file("pushed").read_bytes() == CONTENT


def test_theirs_pushes_to_ours(site: Site, xrootd: XRootD, theirs: str) -> None:
    token = site.macaroon("/data/pushed", "activity:UPLOAD")
    last = copy(
        xrootd.ca,
        theirs,
        f"TransferHeaderAuthorization: Bearer {token}",
        f"Destination: {site.url}/data/pushed",
        "Credential: none",
    )
    assert last == "success: Created"
    assert site.get("/data/pushed") == CONTENT


def test_a_file_they_do_not_have_is_said_to_be_missing(site: Site, xrootd: XRootD) -> None:
    token = site.macaroon("/data/none", "activity:UPLOAD")
    last = copy(
        xrootd.ca,
        f"{site.url}/data/none",
        f"Authorization: Bearer {token}",
        f"Source: {xrootd.url}/data/none",
    )
    # 5.5.3 says 500 of it, where a digest is wanted
    assert last.startswith("failure: Remote side failed with status code ")
    assert site.get("/data/none") is None
