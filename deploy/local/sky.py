"""Exposures of a sky that is made up: real FITS files, each another field, the same every time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from astropy.io import fits

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

_SIDE = 256
_STARS = 120
_SKY_LEVEL = 200.0
_TARGETS = ("M 31", "M 42", "M 51", "M 101", "NGC 891", "NGC 7331")


def expose(file: Path, number: int) -> None:
    """Write exposure `number` of the night to a file."""
    header = fits.Header()
    header["OBJECT"] = (_TARGETS[number % len(_TARGETS)], "what the telescope points at")
    header["EXPTIME"] = (30.0 + number % 5 * 30, "[s] exposure time")
    header["FILTER"] = ("gri"[number % 3], "filter")
    header["RA"] = (round(number * 7.3 % 360, 4), "[deg] right ascension")
    header["DEC"] = (round(number * 3.1 % 140 - 60, 4), "[deg] declination")
    header["EXPNUM"] = (number, "number in the night")
    fits.PrimaryHDU(_field(number), header).writeto(file, overwrite=True, checksum=True)


def _field(number: int) -> NDArray[np.float32]:
    """Return noise with stars, and a galaxy in the middle of every third field."""
    chance = np.random.default_rng(number)
    field = chance.normal(_SKY_LEVEL, np.sqrt(_SKY_LEVEL), (_SIDE, _SIDE))
    rows, columns = np.mgrid[:_SIDE, :_SIDE]
    for _ in range(_STARS):
        row, column = chance.uniform(0, _SIDE, 2)
        brightness = chance.pareto(1.3) * 300
        reach = (
            slice(max(0, int(row) - 9), int(row) + 10),
            slice(max(0, int(column) - 9), int(column) + 10),
        )
        distance = (rows[reach] - row) ** 2 + (columns[reach] - column) ** 2
        field[reach] += brightness * np.exp(-distance / 4.5)
    if number % 3 == 0:
        angle, tilt = chance.uniform(0, np.pi), chance.uniform(0.15, 1)
        down, right = rows - _SIDE / 2, columns - _SIDE / 2
        along = right * np.cos(angle) + down * np.sin(angle)
        across = down * np.cos(angle) - right * np.sin(angle)
        field += 1500 * np.exp(-np.hypot(along / 25, across / (25 * tilt)))
    return field.astype(np.float32)
