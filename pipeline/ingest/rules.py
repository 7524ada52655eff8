"""What an ingest rule says, and which uploads it is about. Pure: reading files is `rules_file`'s.

Loops cannot happen. A file is *derived* when the agent's own account wrote it and its path has the
shape of an output of some rule. A derived file starts no rule, except one that says `derived =
true` and stands in the file after every rule that could have made it: each step of a chain goes to
a later rule, so a chain ends. A rule is never started by what could be its own output.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from pipeline.rules.selection import Selection
from schemas.vocabulary import FileType, Kind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pipeline.rules.patterns import Substitution
    from pipeline.rules.storages import Storage
    from schemas.records import BillingRecord

UPLOAD: Final = "UPLOAD"
DEFAULT_TOPIC: Final = "ingest"
DEFAULT_LIFETIME_S: Final = 15 * 60.0


@dataclass(frozen=True, slots=True)
class NamedUrl:
    """One of the URLs that a trigger carries.

    Attributes:
        name: what the function knows it by: `read`, `write`, `log`, …
        activities: what its macaroon allows; empty: the URL has no macaroon.
        lifetime_s: how long its macaroon lives, in seconds.
        derived: how its path follows from the uploaded one; None: the uploaded path itself.
        create_path: whether missing directories above it are made.
    """

    name: str
    activities: tuple[str, ...] = ()
    lifetime_s: float = DEFAULT_LIFETIME_S
    derived: Substitution | None = None
    create_path: bool = False

    def path(self, uploaded: str) -> str | None:
        """Return its path for an uploaded file; None if it cannot be derived."""
        return uploaded if self.derived is None else self.derived.apply(uploaded)


@dataclass(frozen=True, slots=True)
class Rule(Selection):
    """Which uploads start which function with which URLs.

    Attributes:
        name: names the rule for ever: it is part of each trigger's id.
        function: what to run; empty: whatever listens to the topic.
        topic: where its triggers go.
        urls: what the function is given.
        storages: only files of these storages; empty: of all that are known.
        derived: whether the outputs of rules above it in the file count, too.
    """

    name: str
    function: str = ""
    topic: str = DEFAULT_TOPIC
    urls: tuple[NamedUrl, ...] = ()
    storages: frozenset[str] = frozenset()
    derived: bool = False

    def is_about(self, record: BillingRecord) -> bool:
        """Whether a finished upload meets all that the rule asks."""
        return (not self.storages or record["storage"] in self.storages) and self.selects(
            record["path"], record["size_bytes"] or 0, record["user"]
        )

    def could_have_made(self, path: str) -> bool:
        """Whether `path` has the shape of one of its outputs."""
        return any(
            UPLOAD in url.activities
            and (url.derived is None or url.derived.shape.is_found_in(path))
            for url in self.urls
        )


@dataclass(frozen=True, slots=True)
class Function:
    """What a rule runs, and its limits.

    Attributes:
        name: what rules call it.
        python: `module:callable`, called with a `Job`; empty if it is a command.
        command: program and arguments, `{name}` standing for the local file of that URL.
        wall_s: seconds after which it is ended.
        cpu_s: seconds of processor time after which it is ended.
        memory_bytes: address space it may have.
        output_bytes: the largest file it may write.
        log_bytes: the most that it may print.
        attempts: how often it is tried before its trigger goes to the dead letters.
    """

    name: str
    python: str = ""
    command: tuple[str, ...] = ()
    wall_s: float = 300.0
    cpu_s: int = 300
    memory_bytes: int = 2 << 30
    output_bytes: int = 1 << 30
    log_bytes: int = 10 << 20
    attempts: int = 3


@dataclass(frozen=True)
class RuleSet:
    """All that a rules file says.

    Attributes:
        rules: in the order of the file.
        functions: by name.
        storages: by name; `""` is the storage of every record whose own is not named.
        kafka_bootstrap: Kafka's addresses, if the file names them (YAML).
        client_id: the Kafka client's and group's name, if the file names one (YAML).
    """

    rules: tuple[Rule, ...]
    functions: Mapping[str, Function] = field(default_factory=dict)
    storages: Mapping[str, Storage] = field(default_factory=dict)
    kafka_bootstrap: str = ""
    client_id: str = ""

    def storage_of(self, record: BillingRecord) -> Storage | None:
        """Return where the record's file is; None if that storage is nobody's concern here."""
        return self.storages.get(record["storage"]) or self.storages.get("")

    def started_by(self, record: BillingRecord) -> Sequence[Rule]:
        """Return the rules that a billing record starts; only a finished upload starts any."""
        if record["kind"] != Kind.UPLOAD or record["status_code"] != 0:
            return ()
        if record["type"] != FileType.REGULAR:
            return ()
        storage = self.storage_of(record)
        if storage is None:
            return ()
        first = self._first_allowed(record, storage)
        return [
            rule
            for at, rule in enumerate(self.rules)
            if (first == 0 or (at >= first and rule.derived)) and rule.is_about(record)
        ]

    def _first_allowed(self, record: BillingRecord, storage: Storage) -> int:
        """Return the index after the last rule that could have made the file; 0: not derived."""
        if record["user"] != storage.user:
            return 0
        makers = [at for at, rule in enumerate(self.rules) if rule.could_have_made(record["path"])]
        return makers[-1] + 1 if makers else 0
