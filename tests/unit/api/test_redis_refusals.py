"""A Redis that answers with an error: what passes without our doing is no bug of ours."""

from __future__ import annotations

import asyncio

import pytest
from redis import exceptions

from api.redis_channel_store import RedisChannelStore
from api.redis_channels import is_a_state
from schemas.errors import Unavailable


@pytest.mark.parametrize(
    "error",
    [
        exceptions.ReadOnlyError("You can't write against a read only replica."),
        exceptions.OutOfMemoryError("command not allowed when used memory > 'maxmemory'."),
        exceptions.ResponseError(
            "Error running script (call to f_1): @user_script:1: @user_script: 1: -OOM command "
            "not allowed when used memory > 'maxmemory'."
        ),
        exceptions.ResponseError(
            "MISCONF Errors writing to the AOF file: No space left on device"
        ),
        exceptions.ResponseError("BUSY Redis is busy running a script."),
    ],
)
def test_a_state_of_redis_is_waited_for(error: exceptions.ResponseError) -> None:
    """Whether the client knows a class for it, or a script was refused."""
    assert is_a_state(error)


@pytest.mark.parametrize(
    "text",
    ["WRONGTYPE Operation against a key holding the wrong kind of value", "unknown command 'GTE'"],
)
def test_our_mistakes_stay_loud(text: str) -> None:
    assert not is_a_state(exceptions.ResponseError(text))


async def test_a_ping_that_is_refused_says_that_the_store_is_not_ready() -> None:
    """Redis refuses even PING when it cannot write to its disk."""

    async def refuse(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"-MISCONF Errors writing to the AOF file: No space left on device\r\n" * 9)
        await writer.drain()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        store = RedisChannelStore(f"redis://127.0.0.1:{port}/0", prefix="refused:")
        with pytest.raises(Unavailable, match="MISCONF"):
            await store.ping()
        await store.close()
