"""The reference pages say what the code says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from deploy import reference

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("file", reference.PAGES, ids=lambda file: file.name)
def test_a_page_is_made_from_the_code(file: Path) -> None:
    """Making it again changes nothing; if it does: `make reference`."""
    assert file.read_text() == reference.PAGES[file]()
