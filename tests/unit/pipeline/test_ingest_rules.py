"""Rules: which uploads start what, and how a mistake in the file is told."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.ingest import rules_file, triggers
from pipeline.rules import durations, patterns
from pipeline.rules.document import RulesError
from pipeline.rules.storages import Storage

if TYPE_CHECKING:
    from pipeline.ingest.rules import RuleSet

AGENT = Storage("http://127.0.0.1:2880/", "ingest", "secret")

PAPER = Path(__file__).with_name("ingest_paper.yaml")


def uploaded(path: str, **changes: Any) -> Any:
    """Return a billing record of a finished upload."""
    depth = path.count("/")
    return {
        "shard": "sim", "number": 7, "time_us": 1_700_000_000_000_001, "storage": "sim",
        "kind": "UPLOAD", "inode": b"i" * 18, "ancestors": b"a" * 18 * depth,
        "permissions": " ".join(["0:0:755"] * (depth + 1)), "path": path,
        "name": path.rpartition("/")[2], "type": "REGULAR", "user": "alice", "uid": 1000,
        "size_bytes": 100, "status_code": 0,
    } | changes  # fmt: skip


def load(tmp_path: Path, text: str, name: str = "rules.toml") -> RuleSet:
    file = tmp_path / name
    file.write_text(textwrap.dedent(text))
    return rules_file.load(file, storage=AGENT)


def started(rules: RuleSet, path: str, **changes: Any) -> list[str]:
    return [rule.name for rule in rules.started_by(uploaded(path, **changes))]


PREVIEW = r"""
    [functions.preview]
    command = ["true"]

    [[ingest]]
    name = "preview"
    function = "preview"
    directories = ["/data/raw"]
    matching = "*.fits"
    ignoring = '-bad\.'
    min_size_bytes = 10
    max_size_bytes = 1000
    owners = ["alice", "ingest"]

    [ingest.urls.read]
    [ingest.urls.write]
    lifetime = "PT5M"
    replacing = '/raw/(.*)\.fits$'
    with = '/derived/\1.png'
    create_path = true
"""


def test_a_rule_is_about_what_meets_all_its_predicates(tmp_path: Path) -> None:
    rules = load(tmp_path, PREVIEW)
    assert started(rules, "/data/raw/a.fits") == ["preview"]
    assert started(rules, "/data/raw/night/1/a.fits") == ["preview"]
    assert started(rules, "/data/rawer/a.fits") == []
    assert started(rules, "/data/raw/a.fit") == []
    assert started(rules, "/data/raw/a-bad.fits") == []
    assert started(rules, "/data/raw/a.fits", size_bytes=9) == []
    assert started(rules, "/data/raw/a.fits", size_bytes=1001) == []
    assert started(rules, "/data/raw/a.fits", user="bob") == []


@pytest.mark.parametrize(
    "changes",
    [{"kind": "CREATE"}, {"kind": "DELETE"}, {"status_code": 5}, {"type": "DIR"}],
)
def test_only_a_finished_upload_of_a_file_starts_anything(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    assert started(load(tmp_path, PREVIEW), "/data/raw/a.fits", **changes) == []


def test_below_counts_only_when_recursive(tmp_path: Path) -> None:
    rules = load(tmp_path, PREVIEW.replace("min_size", "recursive = false\n    min_size"))
    assert started(rules, "/data/raw/a.fits") == ["preview"]
    assert started(rules, "/data/raw/night/a.fits") == []


LOOPING = r"""
    [[ingest]]
    name = "first"
    directories = ["/data"]
    [ingest.urls.write]
    replacing = '\.([a-z]*)$'
    with = '-one.\1'

    [[ingest]]
    name = "second"
    derived = true
    [ingest.urls.write]
    replacing = '\.([a-z]*)$'
    with = '-two.\1'
"""


def test_a_derived_file_starts_only_later_rules_that_take_derived_files(tmp_path: Path) -> None:
    rules = load(tmp_path, LOOPING)
    assert started(rules, "/data/a.dat", user="ingest") == ["first", "second"]
    assert started(rules, "/data/a-one.dat", user="ingest") == ["second"]
    assert started(rules, "/data/a-two.dat", user="ingest") == []
    assert started(rules, "/data/a-one-two.dat", user="ingest") == []
    assert started(rules, "/data/a-one.dat", user="alice") == ["first", "second"]


@given(st.lists(st.sampled_from(["/data/raw", "-one", "-two", ".dat", "/", "x"]), max_size=6))
def test_no_chain_of_outputs_goes_on_for_ever(
    tmp_path_factory: pytest.TempPathFactory, parts: list[str]
) -> None:
    rules = load(tmp_path_factory.mktemp("rules"), LOOPING)
    waiting, steps = ["/data/" + "".join(parts)], 0
    while waiting and steps < 100:
        path = waiting.pop()
        for rule in rules.started_by(uploaded(path, user="ingest")):
            steps += 1
            waiting += [new for url in rule.urls if (new := url.path(path)) is not None]
    assert steps <= 3


def test_a_rule_that_rewrites_the_file_itself_does_not_start_itself(tmp_path: Path) -> None:
    rules = load(
        tmp_path, '[[ingest]]\nname = "in-place"\n[ingest.urls.write]\nactivity = "UPLOAD"\n'
    )
    assert started(rules, "/a") == ["in-place"]
    assert started(rules, "/a", user="ingest") == []


def test_files_of_an_unknown_storage_are_nobodys_concern(tmp_path: Path) -> None:
    text = """
    [storages.facility]
    url = "https://facility.example.org/"
    user = "ingest"
    password = "x"
    [[ingest]]
    name = "all"
    """
    file = tmp_path / "rules.toml"
    file.write_text(textwrap.dedent(text))
    rules = rules_file.load(file)
    assert started(rules, "/a", storage="facility") == ["all"]
    assert started(rules, "/a", storage="mountain") == []


def test_the_papers_yaml_works_as_it_is(tmp_path: Path) -> None:
    rules = rules_file.load(PAPER)
    assert (rules.client_id, rules.kafka_bootstrap) == ("my-unique-ID", "localhost:9092")
    movies, images = rules.rules
    assert started(rules, "/data/foo/a.mp4") == ["uploaded-foo-movies"]
    assert started(rules, "/data/foo/deeper/a.mp4") == []
    assert started(rules, "/data/foo/a-derived.mp4") == []
    assert started(rules, "/data/foo/incoming/b.jpeg") == ["uploaded-foo-images"]
    assert triggers.paths(movies, "/data/foo/a.mp4") == {
        "read": "/data/foo/a.mp4",
        "write": "/data/foo/a-derived.mp4",
        "log": "/data/foo/a-derived.log",
    }
    assert triggers.paths(images, "/data/foo/incoming/b.jpeg")["write"] == (
        "/data/foo/incoming/b-output"
    )
    assert {url.name: url.activities for url in movies.urls} == {
        "read": ("DOWNLOAD",), "write": ("UPLOAD",), "log": ("UPLOAD",),
    }  # fmt: skip
    assert {url.lifetime_s for url in movies.urls} == {900.0}
    assert [url.create_path for url in images.urls] == [False, True]
    assert rules.storages[""].user == "dyn-data-agent"
    assert "dyn-data-password" not in repr(rules)


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("matching =", "matchng =", 9, "no 'matchng'; did you mean 'matching'"),
        ("function = ", "functoin = ", 7, "did you mean 'function'"),
        ('function = "preview"', 'function = "previw"', 7, "did you mean 'preview'"),
        ("lifetime =", "lifetme =", 17, "did you mean 'lifetime'"),
        ('"PT5M"', '"5 minutes"', 17, "not an ISO 8601 duration"),
        ("(.*)", "(.*", 18, "missing )"),
        (r"\1.png", r"\2.png", 18, "has 1 groups"),
        ("min_size_bytes = 10", 'min_size_bytes = "10"', 11, "must be a whole number"),
        ("[functions.preview]", "[function.preview]", 2, "did you mean 'functions'"),
        ("min_size_bytes = 10", "min_size_bytes = 9999999999", 12, "is below min_size_bytes"),
        ("directories = [", "directories = [1, ", 8, "list of texts"),
        ('"/data/raw"', '"data/raw"', 8, "must begin with a slash"),
        ("[ingest.urls.read]", '[ingest.urls.read]\n    activity="DOWNLAOD"', 16, "'DOWNLOAD'"),
        ('command = ["true"]', "", 2, "needs either python or command"),
        ('name = "preview"', "", 5, "name is missing"),
    ],
)
def test_a_mistake_is_told_with_its_line_and_what_was_meant(
    tmp_path: Path, old: str, new: str, line: int, said: str
) -> None:
    assert old in PREVIEW
    with pytest.raises(RulesError) as told:
        load(tmp_path, PREVIEW.replace(old, new, 1))
    assert f"rules.toml, line {line}: " in str(told.value)
    assert said in str(told.value)


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("kafka-client:", "kafka-cleint:", 1, "did you mean 'kafka-client'"),
        ("bootstrap-servers:", "bootstrap-server:", 3, "did you mean 'bootstrap-servers'"),
        ("username:", "user-name:", 8, "did you mean 'username'"),
        ("PT15M", "15M", 10, "not an ISO 8601 duration"),
        ("ignoring:", "ignorng:", 16, "did you mean 'ignoring'"),
        ("activity: DOWNLOAD", "activity: DOWNLAOD", 20, "did you mean 'DOWNLOAD'"),
        ("derived-path:", "derived_path:", 24, "did you mean 'derived-path'"),
        ("replacing:", "replacng:", 25, "did you mean 'replacing'"),
        ("'([^/]*)", "'([^/]*", 25, "missing )"),
    ],
)
def test_a_mistake_in_yaml_is_told_with_its_line(
    tmp_path: Path, old: str, new: str, line: int, said: str
) -> None:
    file = tmp_path / "rules.yaml"
    assert old in PAPER.read_text()
    file.write_text(PAPER.read_text().replace(old, new, 1))
    with pytest.raises(RulesError) as told:
        rules_file.load(file)
    assert f"rules.yaml, line {line}: " in str(told.value)
    assert said in str(told.value)


def test_what_is_not_toml_is_told_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(RulesError, match="line 3: not TOML"):
        load(tmp_path, "\n[[ingest]]\nname = preview\n")


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("*.fits", "/a/b.fits", True),
        ("*.fits", "/a/b.fits.gz", False),
        ("/a/*.fits", "/a/b/c.fits", False),
        ("/a/**/*.fits", "/a/b/c.fits", True),
        ("/a/**/*.fits", "/a/c.fits", True),
        ("/a/**", "/a/b/c", True),
        ("img[0-9].{jpg,tiff}", "/x/img7.tiff", True),
        ("img[!0-9].jpg", "/x/img7.jpg", False),
        ("a?c", "/abc", True),
        ("a?c", "/a/c", False),
        ("a.c", "/abc", False),
        ("regex:.*/run-\\d+/[^/]*", "/x/run-12/f", True),
    ],
)
def test_globs_and_expressions_describe_the_whole_path(
    tmp_path: Path, pattern: str, path: str, *, matches: bool
) -> None:
    rules = load(tmp_path, f"[[ingest]]\nname='n'\nmatching='{pattern}'\n")
    assert started(rules, path) == (["n"] if matches else [])


def test_an_expression_that_would_backtrack_takes_no_time() -> None:
    assert not patterns.regular(r"(a*)*b").is_whole("a" * 4000)


def test_look_around_is_refused_in_words() -> None:
    with pytest.raises(patterns.BadPattern, match="look-around and back-references"):
        patterns.regular("(?=a)b")


@given(st.text(alphabet="ab/.-1", min_size=1), st.sampled_from(["-x.\\2", "\\1", "q\\0", "\\\\"]))
def test_what_a_substitution_makes_has_its_shape(path: str, template: str) -> None:
    substitution = patterns.substitution(r"([^/]*)\.([^.]*)$", template)
    made = substitution.apply(path)
    assert made is None or substitution.shape.is_found_in(made)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("PT15M", 900), ("P1D", 86400), ("P1DT2H", 93600), ("pt30s", 30), ("P2W", 1209600)],
)
def test_durations_are_read(text: str, seconds: float) -> None:
    assert durations.parse(text) == seconds


@pytest.mark.parametrize("text", ["", "15m", "P", "PT", "P1DT", "PT0S", "-PT5M", "P1M"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"ISO 8601|no time"):
        durations.parse(text)
