from __future__ import annotations

from pathlib import Path

from tests.conformance.kernel import differences

PAGE = Path(__file__).parents[3] / "docs" / "explanation" / "inotify-semantics.md"


def test_the_page_has_the_table() -> None:
    """What users read about differences is what the comparison with the kernel knows.

    `python -m tests.conformance.kernel.differences` prints the table.
    """
    assert differences.table() in PAGE.read_text(encoding="utf-8")
