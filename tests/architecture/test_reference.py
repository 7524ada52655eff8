"""The reference pages say what the code says."""

from __future__ import annotations

import pytest

from deploy import reference


@pytest.mark.parametrize("name", reference.PAGES)
def test_a_page_is_made_from_the_code(name: str) -> None:
    """Making it again changes nothing; if it does: `make reference`."""
    assert (reference.REFERENCE / name).read_text() == reference.PAGES[name]()
