"""The two example functions on real files."""

from __future__ import annotations

import json
import zlib
from typing import TYPE_CHECKING

import numpy as np
import pytest
from astropy.io import fits
from PIL import Image

from examples.functions import checksum, fits_preview
from pipeline.ingest.runners.child import Call

if TYPE_CHECKING:
    from pathlib import Path


def call(tmp_path: Path, *outputs: str) -> Call:
    files = {name: tmp_path / name for name in ("read", *outputs)}
    return Call(files, "/data/raw/a.fits", "sim:1:rule")


def test_a_fits_image_becomes_a_picture_and_its_header(tmp_path: Path) -> None:
    data = np.zeros((40, 60), np.float32)
    data[30, 10] = 100
    image = fits.ImageHDU(data)
    image.header["OBJECT"] = "M 42"
    fits.HDUList([fits.PrimaryHDU(), image]).writeto(tmp_path / "read")
    made = call(tmp_path, "write", "metadata")
    fits_preview.preview(made)
    with Image.open(made.files["write"]) as picture:
        assert (picture.format, picture.size) == ("PNG", (60, 40))
        assert picture.getpixel((10, 9)) == 255
    about = json.loads(made.files["metadata"].read_text())
    assert about["shape"] == [40, 60]
    assert about["maximum"] == 100
    assert about["header"]["OBJECT"] == "M 42"


def test_a_table_is_no_image(tmp_path: Path) -> None:
    column = fits.Column("x", "J", array=np.arange(3))
    fits.BinTableHDU.from_columns([column]).writeto(tmp_path / "read")
    with pytest.raises(ValueError, match="no image"):
        fits_preview.preview(call(tmp_path, "write", "metadata"))


def test_a_text_is_indexed(tmp_path: Path) -> None:
    (tmp_path / "read").write_text("the sky and the stars")
    made = call(tmp_path, "write")
    checksum.index(made)
    about = json.loads(made.files["write"].read_text())
    assert about["words"] == {"the": 2, "and": 1, "sky": 1, "stars": 1}
    assert about["size"] == 21
    assert about["adler32"] == f"{zlib.adler32(b'the sky and the stars'):08x}"


def test_what_is_no_text_has_no_words(tmp_path: Path) -> None:
    (tmp_path / "read").write_bytes(b"\xff\xfe\x00")
    made = call(tmp_path, "write")
    checksum.index(made)
    assert json.loads(made.files["write"].read_text())["words"] == {}
