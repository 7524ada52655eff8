"""Readiness names what stands still, and the small HTTP server answers what it should."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import httpx
import pytest

from pipeline.health import HealthServer, Movement, kafka_trouble, readiness, served
from pipeline.metrics import Metrics
from schemas.errors import SettingsError

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

BILLING = ("billing", 3)


def test_a_partition_that_stands_still_with_work_to_do_is_named() -> None:
    now = [0.0]
    movement = Movement(10, clock=lambda: now[0])
    assert movement.stalls({BILLING: (100, 40)}) == []
    now[0] = 9
    assert movement.stalls({BILLING: (100, 40)}) == []
    now[0] = 11
    (sentence,) = movement.stalls({BILLING: (120, 40)})
    assert sentence == "billing-3 stands still at 40, 80 records behind, for 11 s"
    assert movement.stalls({BILLING: (120, 41)}) == []
    now[0] = 60
    assert movement.stalls({BILLING: (41, 41)}) == [], "nothing to do"


def test_a_partition_that_went_away_is_forgotten() -> None:
    now = [0.0]
    movement = Movement(10, clock=lambda: now[0])
    movement.stalls({BILLING: (100, 40)})
    movement.stalls({})
    now[0] = 50
    assert movement.stalls({BILLING: (100, 40)}) == []


async def test_no_broker_is_said_in_a_sentence() -> None:
    assert "127.0.0.1:1" in await kafka_trouble("127.0.0.1:1")
    assert "ValueError" in await kafka_trouble("no port")


async def test_ready_is_what_kafka_and_every_part_say() -> None:
    broker = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    port = broker.sockets[0].getsockname()[1]
    said: list[str] = []
    troubles = readiness(f"127.0.0.1:{port}", lambda: said, list)
    assert await troubles() == []
    said.append("partition 3 of billing stands still")
    assert await troubles() == said
    broker.close()
    await broker.wait_closed()
    away, *others = await troubles()
    assert away.startswith("Kafka cannot be reached")
    assert others == said


async def test_a_port_that_is_taken_names_its_setting() -> None:
    async def troubles() -> list[str]:
        return []

    def serve(port: int) -> AbstractAsyncContextManager[None]:
        return served(
            host="127.0.0.1", port=port, variable="SOME_PORT", troubles=troubles, metrics=str
        )

    async with serve(0):
        pass
    other = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    with pytest.raises(SettingsError, match="SOME_PORT: cannot listen there"):
        async with serve(other.sockets[0].getsockname()[1]):
            pass
    other.close()


async def test_the_pages() -> None:
    metrics = Metrics()
    metrics.add("events_total", 3, event_type="inotify")
    metrics.gauge("in_flight_bytes", lambda: {"": 17.0})
    missing: list[str] = []

    async def troubles() -> list[str]:
        return missing

    server = HealthServer(host="127.0.0.1", port=0, troubles=troubles, metrics=metrics.text)
    port = await server.start()
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        assert (await client.get("/health/live")).status_code == 200
        assert (await client.get("/health/ready")).json() == {"status": "ready"}
        missing.append("Redis is away")
        answer = await client.get("/health/ready")
        assert answer.status_code == 503
        assert answer.json()["missing"] == ["Redis is away"]
        text = (await client.get("/metrics")).text
        assert 'storage_events_worker_events_total{event_type="inotify"} 3' in text
        assert "storage_events_worker_in_flight_bytes 17" in text
        assert (await client.get("/else")).status_code == 404
        assert (await client.post("/health/live")).status_code == 405
        assert (await client.head("/health/ready")).status_code == 503
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"\r\n\r\n")
    writer.close()
    await server.stop()
