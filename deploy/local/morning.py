"""What must be true in the morning: every claim about the night's files, looked at one by one."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from html import escape
from typing import TYPE_CHECKING

import httpx
from PIL import Image

from deploy.local.demonstrators import ROOT, password
from deploy.local.night import OUTPUTS
from deploy.local.observatory import FACILITY, MOUNTAIN

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from deploy.local.demonstrators import Site
    from deploy.local.observatory import Observatory

_USER = "telescope"
_AT_ONCE = 8
_WANTED = {"Want-Digest": "adler32"}
_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>The night</title>
<style>
  body {{ background: #111; color: #bbb; font: 12px/1.4 sans-serif; margin: 2em }}
  h1 {{ font-weight: normal }}
  main {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(180px, 1fr)); gap: 1em }}
  figure {{ margin: 0 }}
  img {{ width: 100%; image-rendering: pixelated }}
</style>
<h1>{count} exposures of the night</h1>
<main>
{figures}
</main>
</html>
"""


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
        self._captions: dict[str, str] = {}
        self._derived: dict[str, str] = {}
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
        return self._each(self._is_raw_safe)

    def _is_raw_safe(self, name: str) -> str:
        path = f"/raw/{name}.fits"
        told = self._facility.head(path, headers=_WANTED)
        if told.headers.get("Digest") == _digest(self._exposures[name].read_bytes()):
            return ""
        return f"{FACILITY}:{path}: {told.status_code}, {told.headers.get('Digest')}"

    def _outputs_sound(self) -> list[str]:
        return self._each(self._is_output_sound)

    def _is_output_sound(self, name: str) -> str:
        picture = self._facility.get(f"/derived/{name}.png")
        about = self._facility.get(f"/derived/{name}.json")
        try:
            with Image.open(io.BytesIO(picture.content)) as opened:
                opened.load()
            (self._previews / f"{name}.png").write_bytes(picture.content)
            header = json.loads(about.content)["header"]
            if name != exposure_name(header["EXPNUM"]):
                return f"/derived/{name}.json is about exposure {header['EXPNUM']}"
        except (OSError, ValueError, KeyError) as error:
            return f"/derived/{name}: {picture.status_code} {about.status_code} {error}"
        self._captions[name] = f"{header['OBJECT']}, {header['FILTER']}, {header['EXPTIME']:.0f} s"
        self._derived[f"{name}.png"] = _digest(picture.content)
        self._derived[f"{name}.json"] = _digest(about.content)
        return ""

    def _returned(self) -> list[str]:
        return self._each(self._is_returned)

    def _is_returned(self, name: str) -> str:
        for file in (f"{name}{suffix}" for suffix in OUTPUTS):
            here = self._mountain.get(f"/derived/{file}", headers=_WANTED)
            digest = _digest(here.content)
            if {digest, here.headers.get("Digest")} != {self._derived.get(file)}:
                return f"{MOUNTAIN}:/derived/{file}: {here.status_code}, {digest}"
        return ""

    def _each(self, look: Callable[[str], str]) -> list[str]:
        """Look at every exposure, several at once; return what is wrong."""
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return [wrong for wrong in pool.map(look, self._exposures) if wrong]

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
            f'<figure><a href="{name}.png"><img src="{name}.png" alt="{name}" loading="lazy"></a>'
            f"<figcaption>{name}<br>{escape(self._captions.get(name, ''))}</figcaption></figure>"
            for name in sorted(self._exposures)
        )
        page.write_text(_PAGE.format(count=len(self._exposures), figures=figures))
        return page


def _digest(content: bytes) -> str:
    return f"adler32={zlib.adler32(content):08x}"


def exposure_name(number: int) -> str:
    """Return the name of an exposure."""
    return f"exposure-{number:05}"
