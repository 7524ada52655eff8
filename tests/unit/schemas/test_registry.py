from __future__ import annotations

import json

import inotify_simple
import pytest

from schemas import registry, vocabulary
from schemas.errors import BadRecord


def test_schemas_are_found_by_name_and_by_number() -> None:
    """Both ways lead to the same schema."""
    for name, numbers in registry.ids().items():
        newest = registry.newest(name)
        assert (newest.name, newest.id) == (name, numbers[-1])
        assert registry.by_id(newest.id).text == newest.text
        assert json.loads(newest.text)["type"] == "record"


def test_an_unknown_number_is_a_bad_record() -> None:
    """Nobody wrote it here."""
    with pytest.raises(BadRecord, match="unknown schema id 12345"):
        registry.by_id(12345)


def test_masks_are_spelled_as_dcache_spells_them() -> None:
    """The event first, IN_ISDIR second."""
    mask = vocabulary.IN_ISDIR | vocabulary.IN_CREATE
    assert vocabulary.mask_names(mask) == ["IN_CREATE", "IN_ISDIR"]
    assert vocabulary.mask_names(vocabulary.IN_IGNORED) == ["IN_IGNORED"]


def test_the_bits_are_linuxs() -> None:
    """The numbers of <sys/inotify.h>, as another library has them."""
    for flag in inotify_simple.flags:
        ours = getattr(vocabulary, f"IN_{flag.name}", None)
        assert ours == flag.value, flag
