"""What must be true in the morning: every claim about the night's files, looked at one by one."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import zlib
from typing import TYPE_CHECKING

import httpx
from PIL import Image

from deploy.local.demonstrators import ROOT, password
from deploy.local.night import OUTPUTS
from deploy.local.observatory import FACILITY, MOUNTAIN

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from deploy.local.demonstrators import Site
    from deploy.local.observatory import Observatory

_USER = "telescope"


class Morning:
    """Looks at both storages as the astronomer would, by WebDAV.

    Args:
        observatory: where to look.
        exposures: the night's files by name, as they were made.
        previews: where pictures to look at are left.
    """

    def __init__(
        self, observatory: Observatory, exposures: Mapping[str, Path], previews: Path
    ) -> None:
        self._observatory = observatory
        self._exposures = exposures
        self._previews = previews
        login = (_USER, password(_USER))
        self._mountain, self._facility = (
            httpx.Client(base_url=site.webdav_url, auth=login, timeout=60)
            for site in observatory.sites
        )

    def claims(self) -> list[tuple[str, list[str]]]:
        """Return each claim with what contradicts it; an empty list: it holds."""
        self._previews.mkdir(parents=True, exist_ok=True)
        count = len(self._exposures)
        outputs = [f"{name}{suffix}" for name in self._exposures for suffix in OUTPUTS]
        mountain, facility = self._observatory.sites
        unsatisfied = self._ask("missing") + self._ask("dead")
        return [
            (f"{count} raw files at the facility, equal to what was observed", self._raw_safe()),
            (f"{count} previews are pictures, {count} metadata files are of their exposure",
             self._outputs_sound()),
            (f"{len(outputs)} derived files on the mountain, checksums equal", self._returned()),
            ("no raw file is left on the mountain", self._freed()),
            ("the catalogue equals the mountain's listing", self._reconciled(mountain)),
            ("the catalogue equals the facility's listing", self._reconciled(facility)),
            ("no rule is unsatisfied, nothing was given up", unsatisfied),
        ]  # fmt: skip

    def _raw_safe(self) -> list[str]:
        wrong = []
        for name, file in self._exposures.items():
            path = f"/raw/{name}.fits"
            told = self._facility.head(path, headers={"Want-Digest": "adler32"})
            expected = f"adler32={zlib.adler32(file.read_bytes()):08x}"
            if told.headers.get("Digest") != expected:
                wrong.append(
                    f"{FACILITY}:{path}: {told.status_code}, {told.headers.get('Digest')}"
                )
        return wrong

    def _outputs_sound(self) -> list[str]:
        wrong = []
        for name in self._exposures:
            picture = self._facility.get(f"/derived/{name}.png")
            about = self._facility.get(f"/derived/{name}.json")
            try:
                with Image.open(io.BytesIO(picture.content)) as opened:
                    opened.load()
                (self._previews / f"{name}.png").write_bytes(picture.content)
                number = json.loads(about.content)["header"]["EXPNUM"]
                if name != exposure_name(number):
                    wrong.append(f"/derived/{name}.json is about exposure {number}")
            except (OSError, ValueError, KeyError) as error:
                wrong.append(f"/derived/{name}: {picture.status_code} {about.status_code} {error}")
        return wrong

    def _returned(self) -> list[str]:
        wrong = []
        for name in self._exposures:
            for suffix in OUTPUTS:
                path = f"/derived/{name}{suffix}"
                here, there = self._mountain.get(path), self._facility.get(path)
                if not here.is_success or here.content != there.content:
                    wrong.append(f"{MOUNTAIN}:{path}: {here.status_code}")
        return wrong

    def _freed(self) -> list[str]:
        listing = self._mountain.request("PROPFIND", "/raw", headers={"Depth": "1"})
        return [name for name in self._exposures if f"/raw/{name}.fits" in listing.text]

    def _reconciled(self, site: Site) -> list[str]:
        return self._ask("reconcile", site.name)

    def _ask(self, *command: str) -> list[str]:
        """Ask the catalogue; return what it says if it is not content."""
        done = subprocess.run(
            [sys.executable, "-m", "pipeline.replication", *command],
            env={**os.environ, **self._observatory.moving},
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        return [] if done.returncode == 0 else (done.stdout + done.stderr).splitlines()

    def page(self) -> Path:
        """Write a page with all previews; return its file."""
        page = self._previews / "index.html"
        figures = "\n".join(
            f'<figure><img src="{name}.png" alt="{name}"><figcaption>{name}</figcaption></figure>'
            for name in sorted(self._exposures)
        )
        page.write_text(
            "<!doctype html><meta charset=utf-8><title>The night</title>\n"
            "<style>body{background:#111;color:#ccc;font:12px sans-serif}"
            "figure{display:inline-block;margin:6px;text-align:center}</style>\n" + figures
        )
        return page


def exposure_name(number: int) -> str:
    """Return the name of an exposure."""
    return f"exposure-{number:05}"
