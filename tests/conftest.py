"""Fixtures for every test: no settings from outside, real services, names of one's own."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import uuid
from typing import TYPE_CHECKING

import httpx
import pytest
from httpx import _config

from tests import services

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

_OURS = ("STORAGE_EVENTS_",)
_NAMES = {
    "API_PORT", "WEBDAV_PORT", "REST_PORT", "KAFKA_PORT", "REDIS_PORT", "WORKER_HEALTH_PORT",
    "SCHEMA_REGISTRY_URL",
}  # fmt: skip
_NO_CLUSTER = 60.0
_PATIENCE_S = 60.0


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose outside programs are not installed; in CI that is a failure."""
    needed = [name for mark in item.iter_markers("programs") for name in mark.args]
    missing = [name for name in needed if shutil.which(name) is None]
    if missing:
        text = f"not installed: {', '.join(missing)} (deploy/local/outside-programs.sh, as root)"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(text)


@pytest.fixture(scope="session", autouse=True)
def _no_settings_from_outside() -> Iterator[None]:
    """Take our settings out of the environment: a test says what it sets."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(_OURS) or name in _NAMES]:
            patch.delenv(name)
        yield


@pytest.fixture(scope="session", autouse=True)
def _clients_are_patient() -> Iterator[None]:
    """Let httpx wait for a minute where a test does not say how long; by itself it waits 5 s."""
    usual = httpx.Client().timeout
    with pytest.MonkeyPatch.context() as patch:
        for part in ("connect", "read", "write", "pool"):
            patch.setattr(_config.DEFAULT_TIMEOUT_CONFIG, part, _PATIENCE_S)
        assert httpx.Client().timeout != usual
        yield


@pytest.fixture(scope="session")
def kafka_bootstrap() -> Iterator[str]:
    """Give a Kafka: that of KAFKA_BOOTSTRAP, or one started for the run."""
    given = os.environ.get("KAFKA_BOOTSTRAP")
    if given:
        yield given
        return
    with services.running_kafka() as kafka:
        yield kafka.bootstrap


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """Give a Redis: that of REDIS_URL, or one started for the run."""
    given = os.environ.get("REDIS_URL")
    if given:
        yield given
        return
    with services.running_redis() as redis:
        yield redis.url


@pytest.fixture
def redis_prefix(request: pytest.FixtureRequest) -> str:
    """Give a prefix for Redis keys that no other test has."""
    return f"test-{_slug(request.node.name)}-{uuid.uuid4().hex[:8]}:"


@pytest.fixture
async def topic_prefix(request: pytest.FixtureRequest, kafka_bootstrap: str) -> AsyncIterator[str]:
    """Give a prefix for topic names that no other test has; its topics are deleted afterwards."""
    prefix = f"test-{_slug(request.node.name)}-{uuid.uuid4().hex[:8]}-"
    yield prefix
    from benchmarks.load import delete_topics

    async with asyncio.timeout(_NO_CLUSTER):
        await delete_topics(kafka_bootstrap, prefix)


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40]
