"""What can be set, and what is said of what cannot."""

from __future__ import annotations

import pytest

from schemas.errors import SettingsError
from schemas.settings import help_text
from storage_sim.settings import StorageSettings, from_env


def test_the_defaults() -> None:
    """Without variables the storage is on its own ports and beside Kafka."""
    read = from_env({})
    assert (read.webdav_port, read.rest_port, read.name) == (2880, 3881, "sim")
    assert read.bootstrap == "127.0.0.1:9092"
    assert read.sync


def test_kafka_is_near_where_everything_listens() -> None:
    """A bind address that is no address is not one to connect to."""
    assert from_env({"STORAGE_EVENTS_HOST": "0.0.0.0"}).bootstrap == "127.0.0.1:9092"
    assert from_env({"KAFKA_BOOTSTRAP": "a:1,b:2"}).bootstrap == "a:1,b:2"


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("STORAGE_EVENTS_STORAGE_NAMME", "x", "did you mean STORAGE_EVENTS_STORAGE_NAME"),
        ("STORAGE_EVENTS_STORAGE_NAME", "a/b", "letters"),
        ("STORAGE_EVENTS_STORAGE_NAME", "", "letters"),
        ("STORAGE_EVENTS_SHARD_DEPTH", "-1", "too small"),
        ("STORAGE_EVENTS_PARTITIONS", "0", "too small"),
        ("WEBDAV_PORT", "http", "'http' is not a whole number"),
        ("STORAGE_EVENTS_SYNC", "perhaps", "'perhaps' is not yes or no"),
    ],
)
def test_what_cannot_be_used_is_named(variable: str, value: str, said: str) -> None:
    """The error has the variable's name and what is wrong."""
    with pytest.raises(SettingsError, match=said) as caught:
        from_env({variable: value})
    assert variable in str(caught.value)


def test_the_key_is_not_shown() -> None:
    """Neither in a repr nor in the help."""
    read = from_env({"STORAGE_EVENTS_SERVICE_KEY": "hush-hush"})
    assert "hush-hush" not in repr(read)
    assert "STORAGE_EVENTS_SERVICE_KEY" in help_text(StorageSettings)
