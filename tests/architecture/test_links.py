"""Links between our pages lead somewhere."""

from __future__ import annotations

import re

from tests.architecture.test_size_and_docs import name_of, tracked

_LINK = re.compile(r"\]\(([^)#:\s]+)(#[^)]*)?\)")


def test_links_lead_somewhere() -> None:
    """Every relative link in a Markdown page names a file or a folder."""
    broken = [
        f"{name_of(page)}: {target}"
        for page in tracked(".md")
        for target, _ in _LINK.findall(page.read_text())
        if not (page.parent / target).exists()
    ]
    assert broken == []
