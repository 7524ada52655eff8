"""Write `docs/reference/{settings,cli,topics}.md`, and the list of all variables, from the code.

`make reference` calls it.

A test makes them again and fails where they differ, so the pages are true.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from api.settings import ApiSettings
from deploy.local.settings import StackSettings
from pipeline.event_types import registry as event_types
from pipeline.ingest.settings import IngestSettings
from pipeline.replication.settings import ReplicationSettings
from pipeline.settings import PipelineSettings
from schemas import registry, topics
from schemas.settings import VARIABLES, Secret, describe
from storage_sim.settings import StorageSettings

if TYPE_CHECKING:
    from schemas.topics import Topic

_ROOT = Path(__file__).parents[1]
REFERENCE = _ROOT / "docs" / "reference"
_SETTINGS = re.compile(r"^settings, from the environment", re.MULTILINE | re.IGNORECASE)
_MADE = "<!-- Made by `make reference`; edit the code instead. -->\n"

PROCESSES = {
    "The storage: `python -m storage_sim serve`": StorageSettings,
    "A worker: `python -m pipeline worker`": PipelineSettings,
    "An API node: `python -m api serve`": ApiSettings,
    "Processing on ingest: `python -m pipeline.ingest`": IngestSettings,
    "Replication: `python -m pipeline.replication`": ReplicationSettings,
    "The stack on one machine: `make up`, `make demo`": StackSettings,
}
PACKAGES = ("schemas", "storage_sim", "pipeline", "api", "deploy", "benchmarks")


def _type(kind: object) -> str:
    if kind is Secret:
        return "text (secret)"
    names = {str: "text", int: "whole number", float: "number", bool: "yes or no"}
    return names.get(kind, "list, with commas")  # type: ignore[call-overload, no-any-return]


def settings_page() -> str:
    """Return the page of all settings."""
    lines = [
        "# Settings",
        "",
        _MADE,
        "All settings are environment variables, read once at start.",
        "A process refuses a variable that begins like its own and that it does not know.",
        "`make up` and `make demo` refuse each `STORAGE_EVENTS_…` variable that nobody knows.",
    ]
    for title, settings in PROCESSES.items():
        lines += [
            "",
            f"## {title}",
            "",
            "| variable | type | default | meaning |",
            "|---|---|---|---|",
        ]
        instance = settings()
        for variable, field, kind, meaning in describe(settings):
            default = getattr(instance, field)
            shown = ",".join(default) if isinstance(default, tuple) else str(default)
            code = "" if kind is Secret or not shown else f"`{shown}`"
            said = meaning.replace("|", "\\|")
            lines.append(f"| `{variable}` | {_type(kind)} | {code} | {said} |")
    return "\n".join(lines) + "\n"


def _topic_row(topic: Topic, what: str) -> str:
    days = topic.retention_ms / topics.DAYS
    schema = "JSON"
    if topic.schema:
        newest = registry.newest(topic.schema)
        schema = f"[{topic.schema}](../../schemas/avro/{topic.schema}.avsc), id {newest.id}"
    return f"| `{topic.name}` | {topic.key} | {schema} | {days:g} days | {what} |"


def topics_page() -> str:
    """Return the page of all topics."""
    lines = [
        "# Kafka topics",
        "",
        _MADE,
        "Values are Avro in the Confluent frame: a zero byte, the schema id in 4 bytes, the body.",
        f"Each topic has `STORAGE_EVENTS_PARTITIONS` ({topics.DEFAULT_PARTITIONS}) partitions;",
        "`STORAGE_EVENTS_TOPIC_PREFIX` stands before each name.",
        "",
        "| topic | key | value | kept | what |",
        "|---|---|---|---|---|",
        _topic_row(topics.BILLING, "Every operation of the storage, as committed."),
        *(_topic_row(kind.topic, kind.description) for kind in event_types.all().values()),
        _topic_row(topics.DEAD_LETTER, "Records that could not be used, and why."),
    ]
    return "\n".join(lines) + "\n"


def _help(module: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", module, "--help"],
        capture_output=True,
        text=True,
        check=True,
        env={"COLUMNS": "96", "PATH": ""},
        cwd=_ROOT,
    )
    return _SETTINGS.split(done.stdout)[0].rstrip()


def cli_page() -> str:
    """Return the page of all commands."""
    lines = ["# Commands", "", _MADE]
    mains = (
        main for package in PACKAGES for main in sorted(_ROOT.glob(f"{package}/**/__main__.py"))
    )
    for main in mains:
        module = ".".join(main.parent.relative_to(_ROOT).parts)
        lines += [f"## `python -m {module}`", "", "```text", _help(module), "```", ""]
    return "\n".join(lines)


def variables() -> str:
    """Return all variables of all processes, one a line."""
    known = {variable for settings in PROCESSES.values() for variable, *_ in describe(settings)}
    return "".join(f"{variable}\n" for variable in sorted(known))


PAGES = {
    REFERENCE / "settings.md": settings_page,
    REFERENCE / "topics.md": topics_page,
    REFERENCE / "cli.md": cli_page,
    VARIABLES: variables,
}


def main() -> None:
    """Write all pages."""
    for file, page in PAGES.items():
        file.write_text(page())


if __name__ == "__main__":
    main()
