"""Where files are, by events alone, and what follows from a change by the rules."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.replication import jobs, queries
from pipeline.replication.catalogue import Batch
from pipeline.replication.rules import Rule
from tests.builders import inode
from tests.unit.pipeline.replication_world import World

if TYPE_CHECKING:
    from pathlib import Path

RULE = Rule("r", "a", ("b",), directories=("/raw",))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "catalogue.sqlite"


def test_an_upload_is_copied_once_whoever_tells_it_how_often(file: Path) -> None:
    world = World(file, RULE)
    world.added("a", "/raw/f", 1)
    again = world.catalogue.apply([Batch(0, 9, [world.sent[0], world.sent[0]])])
    assert again == 0
    job = world.take()
    assert (job.target, job.content.size_bytes) == (("b", "/raw/f"), 1)
    assert world.ledger.take() is None
    assert world.catalogue.offsets() == {0: 9}


def test_files_that_no_rule_is_about_are_only_catalogued(file: Path) -> None:
    world = World(file, RULE)
    world.added("a", "/other/f", 1)
    world.added("b", "/raw/g", 2)
    assert world.ledger.take() is None
    assert world.where("/other/f") == {("a", "/other/f")}


def test_a_copy_is_done_when_its_event_or_its_executor_says_so(file: Path) -> None:
    world = World(file, RULE)
    world.added("a", "/raw/f", 1)
    world.added("a", "/raw/g", 2)
    by_event, by_executor = world.take(), world.take()
    world.added("b", by_event.target.path, 3)
    world.ledger.done(by_executor)
    assert world.states() == {("r", "COPY", "DONE"): 2}


def test_a_file_that_is_there_already_needs_no_copy(file: Path) -> None:
    world = World(file, RULE)
    world.added("b", "/raw/f", 9)
    world.added("a", "/raw/f", 1)
    assert world.states() == {("r", "COPY", "DONE"): 1}


def test_a_replica_deleted_behind_our_back_is_copied_again(file: Path) -> None:
    world = World(file, RULE)
    world.added("a", "/raw/f", 1)
    world.copy_all()
    world.tell("REMOVED", "b", "/raw/f", 900)
    assert world.missing() == [("/raw/f", "QUEUED")]
    assert world.copy_all()[0].reason == "the replica went"
    assert world.where("/raw/f") == {("a", "/raw/f"), ("b", "/raw/f")}


def test_a_lost_replica_is_replaced(file: Path) -> None:
    world = World(file, RULE)
    world.added("a", "/raw/f", 1)
    world.copy_all()
    world.tell("LOST", "b", "/raw/f", 900)
    assert world.take().replaces


def test_without_any_replica_left_it_is_missing_and_comes_back_with_a_new_one(file: Path) -> None:
    world = World(file, RULE)
    world.added("a", "/raw/f", 1)
    world.copy_all()
    world.tell("REMOVED", "a", "/raw/f", 1)
    assert world.missing() == []
    world.tell("REMOVED", "b", "/raw/f", 900)
    assert world.missing() == [("/raw/f", "MISSING")]
    world.added("a", "/raw/f", 1)
    assert world.missing() == [("/raw/f", "QUEUED")]


def test_an_original_removed_before_its_copy_is_not_missed(file: Path) -> None:
    world = World(file, RULE)
    world.added("a", "/raw/f", 1)
    world.tell("REMOVED", "a", "/raw/f", 1)
    assert world.ledger.take() is None
    assert world.states() == {("r", "COPY", "CANCELLED"): 1}


def test_the_end_of_a_failed_upload_does_not_repair_anything(file: Path) -> None:
    """A pull that failed tells a DELETE of a file that never had content."""
    world = World(file, RULE)
    world.added("a", "/raw/f", 1)
    world.ledger.done(world.take())
    world.tell("REMOVED", "b", "/raw/f", 77)
    assert world.states() == {("r", "COPY", "DONE"): 1}


def test_an_original_that_is_written_again_is_copied_again_over_its_copy(file: Path) -> None:
    world = World(file, RULE)
    world.added("a", "/raw/f", 1)
    world.copy_all()
    world.added("a", "/raw/f", 1, b"other")
    job = world.take()
    assert (job.replaces, job.content.size_bytes) == (True, 5)


def test_a_copy_that_ends_after_its_original_changed_does_not_count(file: Path) -> None:
    world = World(file, RULE)
    world.added("a", "/raw/f", 1)
    late = world.take()
    world.added("a", "/raw/f", 1, b"other")
    world.ledger.done(late)
    assert world.missing() == [("/raw/f", "QUEUED")]
    assert world.take().content.size_bytes == 5


def test_another_file_in_the_place_of_a_copy_is_not_overwritten(file: Path) -> None:
    world = World(file, RULE)
    world.added("a", "/raw/f", 1)
    world.copy_all()
    world.added("b", "/raw/f", 900, b"something else")
    assert world.missing() == [("/raw/f", "DEAD")]
    assert world.ledger.take() is None


def test_a_new_original_of_the_same_name_replaces_the_copy_of_the_old_one(file: Path) -> None:
    world = World(file, Rule("r", "a", ("b",), free_source=True))
    world.added("a", "/f", 1)
    world.copy_all()
    assert world.where("/f") == {("b", "/f")}
    world.added("a", "/f", 2, b"a newer one")
    job = world.take()
    assert (job.inode, job.replaces) == (inode(2), True)


def test_a_renamed_original_is_copied_under_its_new_name(file: Path) -> None:
    world = World(file, RULE)
    world.added("a", "/raw/f.part", 1)
    world.copy_all()
    world.tell("MOVED", "a", "/raw/f", 1, source_path="/raw/f.part")
    job = world.take()
    assert (job.target.path, job.stale_paths, job.replaces) == ("/raw/f", ("/raw/f.part",), False)
    assert job.id == world_id(world)


def world_id(world: World) -> str:
    with world.database.reading() as db:
        (found,) = queries.missing(db)
    return found.id


def test_renaming_into_a_rules_directory_counts_as_coming_to_be(file: Path) -> None:
    world = World(file, RULE)
    world.added("a", "/tmp/f", 1)
    world.tell("MOVED", "a", "/raw/f", 1, source_path="/tmp/f")
    assert world.take().target.path == "/raw/f"


def test_a_moved_directory_takes_its_files_along(file: Path) -> None:
    world = World(file, RULE)
    for number, path in enumerate(("/tmp/d/f", "/tmp/d/e/g", "/tmp/d0"), 1):
        world.added("a", path, number)
    world.tell("MOVED", "a", "/raw/d", 50, source_path="/tmp/d", is_directory=True)
    assert {world.take().target.path, world.take().target.path} == {"/raw/d/f", "/raw/d/e/g"}
    assert world.where("/tmp/d0") == {("a", "/tmp/d0")}
    assert world.where("/tmp/d/f") == set()


def test_a_move_across_shards_counts_once(file: Path) -> None:
    world = World(file, RULE)
    world.added("a", "/tmp/f", 1, shard="a/tmp")
    halves = [
        world.message("MOVED", "a", "/raw/f", 1, source_path="/tmp/f", half=half, shard=shard)
        for half, shard in (("TO", "a/raw"), ("FROM", "a/tmp"))
    ]
    world.catalogue.apply([Batch(1, 1, halves[:1])])
    world.catalogue.apply([Batch(2, 1, halves[1:])])
    assert world.where("/raw/f") == {("a", "/raw/f")}
    assert [job.target.path for job in world.copy_all()] == ["/raw/f"]


def test_what_a_rename_overwrote_is_gone(file: Path) -> None:
    world = World(file)
    world.added("a", "/x", 1)
    world.added("a", "/y", 2, b"yy")
    world.tell("MOVED", "a", "/y", 1, source_path="/x", overwritten=inode(2))
    with world.database.reading() as db:
        assert [found.size_bytes for found in queries.where(db, "/y")] == [1]
        assert queries.replica_counts(db) == {"a": (1, 1)}


def test_the_original_is_freed_when_all_copies_are_safe(file: Path) -> None:
    rule = Rule("r", "a", ("b", "c"), copies=2, free_source=True, free_after_s=60)
    world = World(file, rule)
    world.added("a", "/f", 1)
    world.ledger.done(world.take())
    assert ("r", "FREE", "QUEUED") not in world.states()
    world.copy_all()
    assert world.ledger.take() is None
    world.now_s += 61
    assert [job.action for job in world.copy_all()] == ["FREE"]
    assert world.where("/f") <= {("b", "/f"), ("c", "/f")}
    assert world.missing() == []


def test_it_is_not_freed_when_a_copy_has_gone_meanwhile(file: Path) -> None:
    world = World(file, Rule("r", "a", ("b",), free_source=True, free_after_s=60))
    world.added("a", "/f", 1)
    world.copy_all()
    world.tell("REMOVED", "b", "/f", 900)
    assert world.states()["r", "FREE", "CANCELLED"] == 1
    world.copy_all(first_inode=950)
    assert world.states()["r", "FREE", "QUEUED"] == 1


def test_a_lost_copy_of_a_freed_original_comes_from_another_copy(file: Path) -> None:
    world = World(file, Rule("r", "a", ("b", "c"), copies=2, free_source=True))
    world.added("a", "/f", 1)
    world.copy_all()
    world.copy_all()
    b = 900 if world.sent[1]["storage"] == "b" else 901
    world.tell("REMOVED", "b", "/f", b)
    taken = world.ledger.take()
    assert taken is not None
    assert taken[1] == [("c", "/f")]


def test_copies_end_when_the_rule_says_so_and_are_not_repaired_then(file: Path) -> None:
    world = World(file, Rule("r", "a", ("b",), keep_s=100))
    world.added("a", "/f", 1)
    world.copy_all()
    world.now_s += 101
    job = world.take()
    assert (job.action, job.target) == ("EXPIRE", ("b", "/f"))
    world.ledger.begin_expiry(job)
    world.tell("REMOVED", "b", "/f", 900)
    world.ledger.done(job)
    assert world.missing() == []
    assert world.ledger.take() is None


def test_what_fails_is_tried_later_and_given_up_in_the_end(file: Path) -> None:
    world = World(file, RULE, attempts=3)
    world.added("a", "/raw/f", 1)
    for wait_s in (1, 2):
        assert world.ledger.failed(world.take(), "away") == "QUEUED"
        assert world.ledger.take() is None
        assert world.ledger.until_due_s() == wait_s
        world.now_s += wait_s
    assert world.ledger.failed(world.take(), "still away") == "DEAD"
    with world.database.reading() as db:
        (dead,) = queries.dead(db)
    assert (dead.reason, dead.attempts) == ("still away", 3)
    assert world.ledger.retry(dead.id)
    assert world.take().attempts == 0


def test_an_outage_costs_no_attempts_however_long_it_lasts(file: Path) -> None:
    world = World(file, RULE, attempts=2)
    world.added("a", "/raw/f", 1)
    news = []
    for _ in range(50):
        news.append(world.ledger.postponed(world.take(), "b", "b cannot be reached"))
        wait_s = world.ledger.until_due_s()
        assert wait_s is not None
        assert wait_s <= 300
        world.now_s += wait_s
    assert news == [True] + [False] * 49
    assert world.take().attempts == 0


def test_a_copy_given_up_goes_to_another_storage(file: Path) -> None:
    world = World(file, Rule("r", "a", ("b", "c", "d"), copies=1))
    world.added("a", "/f", 1)
    first = world.take()
    world.ledger.failed(first, "full", for_good=True)
    second = world.take()
    assert second.target.storage != first.target.storage


def test_copies_spread_over_the_storages(file: Path) -> None:
    world = World(file, Rule("r", "a", ("b", "c", "d"), copies=1))
    for number in range(90):
        world.added("a", f"/f{number}", number)
    targets = [job.target.storage for job in world.copy_all()]
    assert min(targets.count(name) for name in "bcd") > 15


def test_a_copy_does_not_go_back_to_where_it_came_from(file: Path) -> None:
    world = World(file, Rule("out", "a", ("b",)), Rule("back", "b", ("a",)))
    world.added("a", "/f", 1)
    assert [job.rule for job in world.copy_all()] == ["out"]


def test_what_a_killed_process_was_doing_is_done_again(file: Path) -> None:
    world = World(file, RULE)
    world.added("a", "/raw/f", 1)
    job = world.take()
    assert world.ledger.take() is None
    assert world.ledger.recover() == 1
    assert world.take().id == job.id


def test_everybody_gets_their_turn(file: Path) -> None:
    """A user with many files keeps nobody waiting."""
    world = World(file, RULE)
    for number in range(20):
        world.added("a", f"/raw/m{number}", number, user="many")
    world.added("a", "/raw/one", 50, user="few")
    assert "few" in {world.take().user, world.take().user}


def test_changes_can_be_followed(file: Path) -> None:
    world = World(file)
    world.added("a", "/f", 1)
    world.tell("REMOVED", "a", "/f", 1)
    with world.database.reading() as db:
        first, second = queries.since(db, 0)
        assert queries.since(db, second.sequence) == []
    assert (first.change, second.change, second.number) == ("ADDED", "REMOVED", 2)


def test_all_of_a_batch_counts_or_nothing(file: Path) -> None:
    world = World(file)
    good = world.message("ADDED", "a", "/f", 1)
    with pytest.raises(KeyError):
        world.catalogue.apply([Batch(0, 1, [good, {"shard": "a", "number": 2}])])
    assert world.where("/f") == set()
    assert world.catalogue.offsets() == {}
    assert world.catalogue.apply([Batch(0, 1, [good])]) == 1


class Lives:
    """Three files on storage a, their copies on storage b, and an executor that copies."""

    def __init__(self, file: Path) -> None:
        self.world = World(file, RULE, attempts=10**9)
        self.here: dict[int, tuple[str, bytes]] = {}
        self.there: dict[str, tuple[int, bytes]] = {}
        self.fresh = iter(range(100, 10_000))

    def add(self, one: int, path: str) -> None:
        if any(used == path for number, (used, _) in self.here.items() if number != one):
            return
        content = b"%d" % next(self.fresh)
        self.here[one] = (self.here.get(one, (path, b""))[0], content)
        self.world.added("a", self.here[one][0], one, content)

    def remove(self, one: int, _: str) -> None:
        if one in self.here:
            path, _ = self.here.pop(one)
            self.world.tell("REMOVED", "a", path, one)

    def move(self, one: int, path: str) -> None:
        if one in self.here and all(used != path for used, _ in self.here.values()):
            old_path, content = self.here[one]
            self.here[one] = (path, content)
            self.world.tell("MOVED", "a", path, one, source_path=old_path)

    def lose(self, _: int, path: str) -> None:
        if path in self.there:
            number, _content = self.there.pop(path)
            self.world.tell("REMOVED", "b", path, number)

    def fail(self, _: int, __: str) -> None:
        if (taken := self.world.ledger.take()) is not None:
            self.world.ledger.failed(taken[0], "away")

    def copy(self, _: int, __: str) -> bool:
        """Do one job as an executor would; return whether there was one."""
        self.world.now_s += 10_000
        taken = self.world.ledger.take()
        if taken is None:
            return False
        job = taken[0]
        content = next((c for p, c in self.here.values() if p == job.original.path), None)
        old = self.there.get(job.target.path)
        if content is None:
            self.world.ledger.failed(job, "404")
        elif old and old[1] != content and not job.replaces:
            self.world.ledger.failed(job, "another file is at the target", for_good=True)
        else:
            number = old[0] if old else next(self.fresh)
            self.there[job.target.path] = (number, content)
            self.world.tell("ADDED", *job.target, number, content=content)
            for stale in job.stale_paths:
                self.lose(0, stale)
            self.world.ledger.done(job)
        return True


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["add", "remove", "move", "copy", "fail", "lose"]),
        st.integers(0, 2),
        st.sampled_from(["/raw/0", "/raw/1"]),
    ),
    min_size=15,
    max_size=40,
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_whatever_happens_in_the_end_every_file_has_its_copy(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, str]]
) -> None:
    """Random lives: when all jobs are done the rule holds, and nothing is left to do."""
    lives = Lives(tmp_path_factory.mktemp("c") / "c.sqlite")
    for step, one, path in steps:
        getattr(lives, step)(one, path)
    while lives.copy(0, ""):
        pass
    assert [entry for entry in lives.world.missing() if entry[1] != "MISSING"] == []
    done = {job.target.path for job in _done(lives.world)}
    for path, content in lives.here.values():
        assert path in done
        assert lives.there[path][1] == content


def _done(world: World) -> list[jobs.Job]:
    with world.database.reading() as db:
        rows = db.execute("SELECT * FROM jobs WHERE state = 'DONE'").fetchall()
        return [jobs.job_of(row) for row in rows]
