"""A FITS image becomes a PNG to look at and its header as JSON.

Needs `pip install storage-events[demonstrators]` (astropy, pillow). In the rules file:

    [functions.fits-preview]
    python = "examples.functions.fits_preview:preview"
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.io import fits
from PIL import Image

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pipeline.ingest.runners.child import Call

_LONGEST_SIDE = 512
_FAINTEST_PERCENT, _BRIGHTEST_PERCENT = 1.0, 99.5


def preview(call: Call) -> None:
    """Write the picture to `write` and the header to `metadata`, for the FITS file in `read`."""
    with fits.open(call.files["read"], memmap=False) as opened:
        image = next(
            (unit for unit in opened if unit.data is not None and unit.data.ndim >= 2), None
        )
        if image is None:
            raise ValueError("no image in this FITS file")
        data = np.asarray(image.data, dtype=np.float32)
        header = {card.keyword: _plain(card.value) for card in image.header.cards if card.keyword}
    while data.ndim > 2:
        data = data[0]
    _picture(data).save(call.files["write"], "PNG")
    about = {
        "path": call.path,
        "shape": list(data.shape),
        "minimum": _plain(np.nanmin(data)),
        "maximum": _plain(np.nanmax(data)),
        "mean": _plain(np.nanmean(data)),
        "header": header,
    }
    call.files["metadata"].write_text(json.dumps(about, indent=1, sort_keys=True) + "\n")
    print(f"{call.path}: {data.shape[1]} x {data.shape[0]} pixels")


def _picture(data: NDArray[np.float32]) -> Image.Image:
    """Return a grey picture: the faintest and brightest pixels cut, a square root between."""
    low, high = np.nanpercentile(data, [_FAINTEST_PERCENT, _BRIGHTEST_PERCENT])
    scaled = np.clip((np.nan_to_num(data, nan=low) - low) / max(high - low, 1e-12), 0, 1)
    # FITS counts rows from the bottom.
    picture = Image.fromarray((np.sqrt(scaled) * 255).astype(np.uint8)[::-1])
    picture.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
    return picture


def _plain(value: Any) -> Any:
    """Return a value that JSON has."""
    if isinstance(value, (bool, int, str)):
        return value
    try:
        number = float(value)
    except (TypeError, ValueError):
        return str(value)
    return number if np.isfinite(number) else None
