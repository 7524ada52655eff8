"""One reader among a thousand stops reading: it is cut off alone, comes back and misses nothing.

The short form is in `test_stream.py`; how long events take meanwhile is measured by
`python -m benchmarks slow_reader`.
"""

from __future__ import annotations

import pytest

from benchmarks import slow_reader

pytestmark = [pytest.mark.stack, pytest.mark.conformance, pytest.mark.timeout(900)]


def test_it_is_cut_off_alone_and_misses_nothing(
    kafka_bootstrap: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does anybody else, and nobody else's stream ends."""
    monkeypatch.setenv("KAFKA_BOOTSTRAP", kafka_bootstrap)
    monkeypatch.setenv("REDIS_URL", redis_url)
    found = slow_reader.measure(readers=1000, rate=25, rounds=1)
    (row,) = found["rows"]
    assert found["complaints"] == []
    assert found["missed"] == 0
    assert row["others cut off"] == 0
    assert row["was behind"] > 0
