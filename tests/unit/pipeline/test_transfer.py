from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline.event_types.base import BadSelector, Watch
from pipeline.event_types.transfer import DOWNLOAD, EVENT_TYPE, UPLOAD
from tests.builders import billing_record, inode, inodes

ROOT, DATA, FILE = (inode(number) for number in (1, 2, 3))
ALL = Watch(path="/in", mask=UPLOAD | DOWNLOAD)


def told(record: Any, watched: bytes, watch: Watch = ALL) -> list[Any]:
    return [
        json.loads(telling.payload)
        for message in EVENT_TYPE.derive(record)
        for telling in EVENT_TYPE.tell(message, watch, watched)
    ]


def test_an_upload_says_what_was_moved() -> None:
    """Path, bytes, time, checksum and how it ended; who did it is left out."""
    assert told(billing_record(), DATA) == [
        {
            "path": "/in/f",
            "direction": "upload",
            "time": "2023-11-14T22:13:20.000000Z",
            "size": 3,
            "transferred": 3,
            "durationMs": 5,
            "checksums": ["adler32:024d0127"],
            "locality": "ONLINE",
            "protocol": "http",
            "status": {"code": 0, "msg": ""},
            "owner": 1000,
        }
    ]


def test_a_watch_on_the_file_is_told_its_own_path() -> None:
    """The watched file has no name below itself."""
    assert told(billing_record(), FILE)[0]["path"] == "/in"


def test_a_failed_transfer_says_why() -> None:
    """Failure is told here, where inotify is silent."""
    record = billing_record(status_code=28, status_message="the disk is full")
    assert told(record, DATA)[0]["status"] == {"code": 28, "msg": "the disk is full"}


@pytest.mark.parametrize("kind", ["CREATE", "DELETE", "RENAME", "LIST", "SETATTR"])
def test_other_operations_are_no_transfers(kind: str) -> None:
    """Only uploads and reads are."""
    assert not EVENT_TYPE.derive(billing_record(kind=kind))


def test_directions_are_selected() -> None:
    """A watch may ask for one direction."""
    watch = EVENT_TYPE.parse({"path": "/in", "direction": ["download"]})
    assert not told(billing_record(), DATA, watch)
    assert told(billing_record(kind="READ"), DATA, watch)[0]["direction"] == "download"


def test_recursion_needs_what_is_between_to_be_listable() -> None:
    """As with inotify: no directory's name is told to who may not list where it is."""
    record = billing_record(
        ancestors=inodes(1, 2, 5), path="/data/secret/f",
        permissions="0:0:755 7:7:711 0:0:755 0:0:644",
    )  # fmt: skip
    [message] = EVENT_TYPE.derive(record)
    recursive = ALL.replace(recursive=True)
    assert told(record, DATA, recursive)[0]["path"] == "/in/secret/f"
    assert EVENT_TYPE.tell(message, recursive, DATA)[0].scope == "r=7:7:711"
    assert EVENT_TYPE.tell(message, recursive, inode(5))[0].scope == ""
    assert not told(record, DATA)


def test_globs_filter() -> None:
    """Names may be filtered."""
    assert not told(billing_record(), DATA, ALL.replace(include=("*.h5",)))
    assert told(billing_record(), DATA, ALL.replace(include=("f",)))


def test_the_client_is_told_to_few() -> None:
    """Who, and from where: the owner, the doer and administrators."""
    event = told(billing_record(), DATA, ALL.replace(reader="x", reader_uid=1000))[0]
    assert (event["user"], event["client"]) == ("alice", "192.0.2.1")


@pytest.mark.parametrize("direction", ["up", ["sideways"], [1]])
def test_bad_directions(direction: Any) -> None:
    """What is no direction is refused."""
    with pytest.raises(BadSelector, match="irection"):
        EVENT_TYPE.parse({"path": "/in", "direction": direction})
