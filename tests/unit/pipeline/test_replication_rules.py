"""Replication rules: what they are about, how mistakes are told, who is next, when again."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.replication import rules_file
from pipeline.replication.queue import Turns
from pipeline.replication.retries import Retries
from pipeline.replication.rules import File, Rule
from pipeline.rules.document import RulesError

if TYPE_CHECKING:
    from pathlib import Path

STORAGES = """\
[storages.mountain]
url = "http://127.0.0.1:2880/"
user = "mover"
password = "secret"

[storages.facility]
url = "http://127.0.0.1:2882/"
user = "mover"
password = "secret"

"""
GOOD = """\
[[replication]]
name = "raw"
from = "mountain"
directories = ["/raw"]
matching = "*.fits"
ignoring = "/tmp/"
min_size_bytes = 10
owners = ["alice"]
to = ["facility"]
replacing = "^/raw/"
with = "/archive/"
free_source = true
free_after = "PT1H"
"""


def load(tmp_path: Path, text: str) -> tuple[Rule, ...]:
    file = tmp_path / "rules.toml"
    file.write_text(STORAGES + text)
    return rules_file.load(file).rules


def test_a_rule_says_which_files_go_where(tmp_path: Path) -> None:
    (rule,) = load(tmp_path, GOOD)
    assert rule.is_about(File("mountain", "/raw/a/f.fits", 10, "alice"))
    assert rule.target_path("/raw/a/f.fits") == "/archive/a/f.fits"
    for other in (
        File("facility", "/raw/f.fits", 10, "alice"),
        File("mountain", "/rawer/f.fits", 10, "alice"),
        File("mountain", "/raw/f.txt", 10, "alice"),
        File("mountain", "/raw/tmp/f.fits", 10, "alice"),
        File("mountain", "/raw/f.fits", 9, "alice"),
        File("mountain", "/raw/f.fits", 10, "bob"),
    ):
        assert not rule.is_about(other)
    assert (rule.free_source, rule.free_after_s, rule.copies) == (True, 3600, 1)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("from =", "form =", "line 13: replication rule 'raw': there is no 'form'; did you mean"),
        ('"mountain"', '"mountan"', "line 13: .*no storage 'mountan'; did you mean 'mountain'?"),
        ('["facility"]', '["facilty"]', "line 19: .*did you mean 'facility'?"),
        ('["facility"]', '["mountain"]', "to must name other storages"),
        ('["facility"]', "[]", "to is missing"),
        ('name = "raw"', 'name = "r a w"', "letters, digits"),
        ('"PT1H"', '"1 hour"', "line 23: .*free_after: '1 hour' is not an ISO 8601 duration"),
        ("free_source = true", "free_source = false", "free_after needs free_source"),
        ("free_source = true", 'free_source = "yes"', "must be true or false"),
        ("min_size_bytes = 10", "min_size_bytes = 10\nmax_size_bytes = 5", "below min_size_bytes"),
        ("min_size_bytes = 10", 'keep = "P1D"', "would leave no copy"),
        ("min_size_bytes = 10", "copies = 2", "copies must be from 1 to 1"),
        ('["/raw"]', '["raw"]', "must begin with a slash"),
        ('"*.fits"', '"regex:["', "matching"),
        ('"/tmp/"', '"("', "ignoring"),
        ('replacing = "^/raw/"', "", "replacing is missing"),
        ("[[replication]]", "[[replicaton]]", "did you mean 'replication'?"),
        ("free_source = true", "free_source = tru", "line 22: not TOML"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_line_and_what_was_meant(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    with pytest.raises(RulesError, match=said):
        load(tmp_path, GOOD.replace(old, new, 1))


def test_two_rules_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RulesError, match="two of this name"):
        load(tmp_path, GOOD + GOOD)


def test_two_rules_that_send_everything_to_and_fro_are_refused(tmp_path: Path) -> None:
    there = '[[replication]]\nname="x"\nfrom="mountain"\nto=["facility"]\nfree_source=true\n'
    back = '[[replication]]\nname="y"\nfrom="facility"\nto=["mountain"]\n'
    with pytest.raises(RulesError, match="to and fro"):
        load(tmp_path, there + back)
    narrow = back + 'directories=["/derived"]\n'
    assert len(load(tmp_path, there + 'directories=["/raw"]\n' + narrow)) == 2


def test_waits_double_up_to_a_bound_and_end() -> None:
    retries = Retries(first_s=1, longest_s=5, most=5)
    assert [retries.wait_s(n, 1.0) for n in range(1, 6)] == [1, 2, 4, 5, None]
    assert retries.wait_s(3, 0.0) == 2


@given(st.integers(1, 10**6), st.floats(0, 1))
def test_a_wait_is_never_longer_than_the_longest(attempts: int, spread: float) -> None:
    wait_s = Retries(most=10**9).wait_s(attempts, spread)
    assert wait_s is not None
    assert 0.5 <= wait_s <= 300


@given(
    st.lists(st.tuples(st.sampled_from("rs"), st.sampled_from("uvw")), min_size=1, unique=True),
    st.integers(1, 8),
)
def test_nobody_waits_while_others_have_two(groups: list[tuple[str, str]], at_once: int) -> None:
    """With everybody's queue full, nobody runs two jobs more than anybody else."""
    turns, running = Turns(), Counter[tuple[str, str]]()
    for step in range(40):
        if sum(running.values()) >= at_once:
            ended = sorted(running.elements())[step % at_once]
            turns.ended(ended)
            running[ended] -= 1
        group = turns.next(groups)
        assert group is not None
        assert running[group] == min(running[other] for other in groups)
        turns.began(group)
        running[group] += 1
