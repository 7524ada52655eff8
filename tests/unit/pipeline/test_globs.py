from __future__ import annotations

import fnmatch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.event_types import globs


@pytest.mark.parametrize(
    ("pattern", "path", "fits"),
    [
        ("*.h5", "a.h5", True),
        ("*.h5", "deep/down/a.h5", True),
        ("*.h5", "a.h5.tmp", False),
        ("*", ".hidden", True),
        ("?", "é", True),
        ("?", "ab", False),
        ("a*b*c", "axxbyyc", True),
        ("a*b*c", "axxbyy", False),
        ("*a*a", "a", False),
        ("[a-c]x", "bx", True),
        ("[!a-c]x", "bx", False),
        ("[^a-c]x", "dx", True),
        ("[]]", "]", True),
        ("[!]]", "]", False),
        ("[z-a]", "m", False),
        ("[", "[", True),
        ("[a", "[a", True),
        ("a.b", "axb", False),
        ("run/*.h5", "run/a.h5", True),
        ("run/*.h5", "a/run/a.h5", False),
        ("run/*.h5", "run/x/a.h5", False),
        ("**/run/*.h5", "run/a.h5", True),
        ("**/run/*.h5", "x/y/run/a.h5", True),
        ("run/**", "run/x/y", True),
        ("run/**/z", "run/z", True),
        ("run/**/z", "run/x/y/z", True),
        ("run/**/z", "run/x/y/zz", False),
        ("**/a/**/b", "a/x/a/y/b", True),
        ("**/x*/y", "x1/z/x2/y", True),
        ("/run", "run", True),
        ("a\nb", "a\nb", True),
        ("*", "a\nb", True),
    ],
)
def test_examples(pattern: str, path: str, fits: bool) -> None:
    """As in .gitignore: with a slash the whole path below the watch, without one the name."""
    assert globs.matches(pattern, path) is fits


TEXT = st.text("ab.*?[]!-^\\", max_size=8)


@given(TEXT, st.text("ab.*[]!-^\\", min_size=1, max_size=8))
def test_a_component_is_matched_as_the_shell_does(pattern: str, name: str) -> None:
    """Where there is no slash, all is as in Python's fnmatch (which has no `[^`)."""
    if "[^" not in pattern:
        assert globs.matches(pattern, name) == fnmatch.fnmatchcase(name, pattern)


@given(
    st.lists(st.sampled_from(["a", "b", "**", "*", "a*"]), min_size=2, max_size=5),
    st.lists(st.sampled_from(["a", "b", "ab"]), min_size=1, max_size=5),
)
def test_two_stars_stand_for_any_number_of_components(
    patterns: list[str], parts: list[str]
) -> None:
    """The quick match equals the obvious recursive one."""

    def fits(patterns: list[str], parts: list[str]) -> bool:
        if not patterns:
            return not parts
        if patterns[0] == "**":
            return any(fits(patterns[1:], parts[taken:]) for taken in range(len(parts) + 1))
        return (
            bool(parts)
            and fnmatch.fnmatchcase(parts[0], patterns[0])
            and fits(patterns[1:], parts[1:])
        )

    assert globs.matches("/".join(patterns), "/".join(parts)) == fits(patterns, parts)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("*a" * 300 + "b", "a" * 255),
        ("**/" * 300 + "b", "a/" * 1000 + "c"),
        ("**/*a*a*a*a*a*a*b/" * 20 + "x", "a" * 200 + "/" + "a" * 200),
        ("[" * 1000, "[" * 254),
    ],
)
def test_no_pattern_goes_on_for_ever(pattern: str, path: str) -> None:
    """Patterns come from users: none makes the matcher go back and forth until the sun is cold."""
    assert not globs.matches(pattern, path)


def test_exclude_wins_over_include() -> None:
    """What some include lets in, an exclude keeps out."""
    assert globs.selects((), (), "a")
    assert globs.selects(("*.h5",), (), "a.h5")
    assert not globs.selects(("*.h5",), (), "a.txt")
    assert not globs.selects(("*.h5",), ("tmp*",), "tmp.h5")
