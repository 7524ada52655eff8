"""What every channel store promises, held against the one in memory and the one in Redis."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from api import channels
from api.channel_store import (
    MAXIMUM_ENDED,
    ChannelStore,
    NoSuchChannel,
    Notice,
    Served,
    TooManyChannels,
    TooManySubscriptions,
)
from api.memory_channel_store import MemoryChannelStore
from api.redis_channel_store import RedisChannelStore
from pipeline.event_types.base import Watch
from schemas.vocabulary import IN_CREATE, IN_DELETE, IN_MASK_ADD

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

URL = "http://h:3880/api/v1/events/channels/C"


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.stack)])
async def store(request: pytest.FixtureRequest, redis_prefix: str) -> AsyncIterator[ChannelStore]:
    """Each implementation in turn."""
    made: ChannelStore
    if request.param == "memory":
        made = MemoryChannelStore(asyncio.get_running_loop().time)
    else:
        url = request.getfixturevalue("redis_url")
        made = RedisChannelStore(url, prefix=redis_prefix)
    yield made
    await made.close()


async def a_channel(store: ChannelStore, **changes: Any) -> channels.Channel:
    given: dict[str, Any] = {"owner_key": "1", "uid": 1, "timeout_s": 300, "maximum": 128}
    return await store.create(**(given | changes))


def a_subscription(
    inode: int = 7, mask: int = IN_CREATE, modifiers: int = 0, **changes: Any
) -> channels.Subscription:
    place = channels.Place(
        inode=bytes([inode]) * 18,
        is_directory=True,
        shard="sim",
        positions={"sim": 40},
        path="/data",
        ancestors=b"\0" * 18,
        permissions="0:0:755 0:0:755",
    )
    watch = Watch(path="/data", mask=mask, modifiers=modifiers)
    selector = {"path": "/data", "flags": ["IN_CREATE"]}
    made = channels.namespace_subscription("inotify", selector, watch, place, URL)
    return made.replace(**changes)


async def test_a_channel_is_found_as_it_was_made(store: ChannelStore) -> None:
    made = await a_channel(store, client_id="me", timeout_s=17)
    assert await store.get(made.id) == made
    assert (made.client_id, made.timeout_s, made.seen_generation) == ("me", 17, 0)


async def test_an_unknown_channel_is_none(store: ChannelStore) -> None:
    assert await store.get("nobody") is None
    assert await store.reload("nobody") is None
    assert not await store.set_timeout("nobody", 5)
    assert not await store.delete("nobody")
    with pytest.raises(NoSuchChannel):
        await store.subscribe("nobody", a_subscription())
    with pytest.raises(NoSuchChannel):
        await store.attach("nobody", "c")
    with pytest.raises(NoSuchChannel):
        await store.put_snapshot("nobody", ["1"])


async def test_channels_are_listed_in_order_and_by_client_id(store: ChannelStore) -> None:
    made = [await a_channel(store, client_id=name) for name in ("a", "", "a", "b")]
    ids = [one.id for one in made]
    assert await store.list_ids("1") == ids
    assert await store.list_ids("1", "a") == [ids[0], ids[2]]
    assert await store.list_ids("1", "") == [ids[1]]
    assert await store.list_ids("1", "x") == []


async def test_a_narrower_token_lists_only_its_own(store: ChannelStore) -> None:
    wide = await a_channel(store)
    narrow = await a_channel(store, owner_key="1:abc")
    assert await store.list_ids("1") == [wide.id]
    assert await store.list_ids("1:abc") == [narrow.id]


async def test_the_limit_counts_a_users_channels_over_all_tokens(store: ChannelStore) -> None:
    first = await a_channel(store, maximum=2)
    await a_channel(store, owner_key="1:abc", maximum=2)
    with pytest.raises(TooManyChannels):
        await a_channel(store, maximum=2)
    await a_channel(store, uid=2, owner_key="2", maximum=2)
    await store.delete(first.id)
    await a_channel(store, maximum=2)


async def test_many_at_once_never_pass_the_limit(store: ChannelStore) -> None:
    tries = [a_channel(store, maximum=5) for _ in range(20)]
    outcomes = await asyncio.gather(*tries, return_exceptions=True)
    assert sum(isinstance(one, channels.Channel) for one in outcomes) == 5


async def test_a_channel_ends_after_its_timeout(store: ChannelStore) -> None:
    made = await a_channel(store, timeout_s=1)
    await store.subscribe(made.id, a_subscription())
    await _until_gone(store, made.id)
    assert await store.list_ids("1") == []
    assert await store.subscriptions(made.id) == []


async def _until_gone(store: ChannelStore, channel_id: str) -> None:
    async with asyncio.timeout(30):
        while await store.get(channel_id) is not None:
            await asyncio.sleep(0.02)


async def test_signs_of_life_keep_a_channel(store: ChannelStore) -> None:
    made = await a_channel(store, timeout_s=3)
    other = await a_channel(store, timeout_s=3)
    await store.subscribe(made.id, a_subscription())
    await store.attach(made.id, "c1")
    async with asyncio.timeout(30):
        while await store.get(other.id) is not None:
            assert (await store.refresh([(made.id, "c1")]))[0] is not None
            await asyncio.sleep(0.02)
    assert len(await store.subscriptions(made.id)) == 1
    await store.detach(Served(made.id, "c1", "", 0))
    await _until_gone(store, made.id)
    assert await store.refresh([(made.id, "c1")]) == [None]


async def test_a_new_timeout_starts_anew(store: ChannelStore) -> None:
    made = await a_channel(store, timeout_s=300)
    assert await store.set_timeout(made.id, 1)
    found = await store.get(made.id)
    assert found is not None
    assert found.timeout_s == 1
    await _until_gone(store, made.id)


async def test_subscriptions_are_kept_in_the_order_they_were_made(store: ChannelStore) -> None:
    channel = await a_channel(store)
    made = [await store.subscribe(channel.id, a_subscription(n)) for n in (9, 3, 5)]
    assert [(one.sequence, new) for one, new in made] == [(1, True), (2, True), (3, True)]
    assert await store.subscriptions(channel.id) == [one for one, _ in made]
    found = await store.get(channel.id)
    assert found is not None
    assert (found.generation, found.slots) == (3, ("inotify:sim",))


async def test_one_subscription_is_found_by_its_id(store: ChannelStore) -> None:
    channel = await a_channel(store)
    made, _ = await store.subscribe(channel.id, a_subscription())
    assert await store.subscription(channel.id, "inotify", made.id) == made
    assert await store.subscription(channel.id, "inotify", "x") is None
    assert await store.subscription(channel.id, "transfer", made.id) is None


async def test_the_same_inode_again_replaces_flags(store: ChannelStore) -> None:
    channel = await a_channel(store)
    first, _ = await store.subscribe(channel.id, a_subscription())
    again, new = await store.subscribe(channel.id, a_subscription(mask=IN_DELETE, url="other"))
    assert (new, again.sequence, again.url) == (False, 1, first.url)
    assert again.watch.mask == IN_DELETE
    assert await store.subscriptions(channel.id) == [again]


async def test_mask_add_really_merges(store: ChannelStore) -> None:
    channel = await a_channel(store)
    await store.subscribe(channel.id, a_subscription())
    again, _ = await store.subscribe(channel.id, a_subscription(7, IN_DELETE, IN_MASK_ADD))
    assert again.watch.mask == IN_CREATE | IN_DELETE
    assert not again.watch.modifiers & IN_MASK_ADD
    assert again.selector["flags"] == ["IN_CREATE", "IN_DELETE"]


async def test_many_merges_at_once_lose_none(store: ChannelStore) -> None:
    channel = await a_channel(store)
    masks = [1 << bit for bit in range(12)]
    tries = [store.subscribe(channel.id, a_subscription(7, mask, IN_MASK_ADD)) for mask in masks]
    outcomes = await asyncio.gather(*tries)
    assert sum(new for _, new in outcomes) == 1
    (kept,) = await store.subscriptions(channel.id)
    assert kept.watch.mask == sum(masks)


async def test_the_limit_of_subscriptions_counts_active_ones(store: ChannelStore) -> None:
    channel = await a_channel(store)
    made, _ = await store.subscribe(channel.id, a_subscription(1), maximum=1)
    with pytest.raises(TooManySubscriptions):
        await store.subscribe(channel.id, a_subscription(2), maximum=1)
    await store.subscribe(channel.id, a_subscription(1), maximum=1)
    assert await store.unsubscribe(channel.id, "inotify", made.id, {"sim": 50})
    await store.subscribe(channel.id, a_subscription(2), maximum=1)


async def test_an_ended_subscription_is_unseen_but_remembered(store: ChannelStore) -> None:
    channel = await a_channel(store)
    made, _ = await store.subscribe(channel.id, a_subscription())
    assert await store.unsubscribe(channel.id, "inotify", made.id, {"sim": 50})
    assert not await store.unsubscribe(channel.id, "inotify", made.id, {"sim": 50})
    assert await store.subscriptions(channel.id) == []
    assert await store.subscription(channel.id, "inotify", made.id) is None
    kept = await store.reload(channel.id)
    assert kept is not None
    (ended,) = kept.subscriptions
    assert (ended.ended, ended.end) == ({"sim": 50}, ("sim", 50, channels.LAST_RANK))
    again, new = await store.subscribe(channel.id, a_subscription())
    assert (again.sequence, new) == (2, True)
    await store.forget(channel.id, [1])
    kept = await store.reload(channel.id)
    assert kept is not None
    assert [one.sequence for one in kept.subscriptions] == [2]


async def test_where_a_subscription_ended_can_be_corrected(store: ChannelStore) -> None:
    channel = await a_channel(store)
    made, _ = await store.subscribe(channel.id, a_subscription())
    await store.end(channel.id, made.sequence, {"sim": 50}, ("sim", 50, 3))
    await store.end(channel.id, made.sequence, {"sim": 51}, None)
    kept = await store.reload(channel.id)
    assert kept is not None
    assert (kept.subscriptions[0].ended, kept.subscriptions[0].end) == ({"sim": 51}, None)
    await store.end(channel.id, 99, {}, None)


async def test_what_ends_before_it_begins_begins_where_it_ends(store: ChannelStore) -> None:
    channel = await a_channel(store)
    made, _ = await store.subscribe(channel.id, a_subscription())
    assert made.since == {"sim": 40}
    assert await store.unsubscribe(channel.id, "inotify", made.id, {"sim": 30})
    kept = await store.reload(channel.id)
    assert kept is not None
    (ended,) = kept.subscriptions
    assert (ended.since, ended.ended) == ({"sim": 30}, {"sim": 30})
    assert ended.end == ("sim", 30, channels.LAST_RANK)


async def test_only_so_many_ended_subscriptions_are_remembered(store: ChannelStore) -> None:
    channel = await a_channel(store)
    stays, _ = await store.subscribe(channel.id, a_subscription(200))
    for _ in range(MAXIMUM_ENDED + 3):
        made, _ = await store.subscribe(channel.id, a_subscription())
        await store.unsubscribe(channel.id, "inotify", made.id, {})
    kept = await store.reload(channel.id)
    assert kept is not None
    sequences = [one.sequence for one in kept.subscriptions]
    assert sequences == [stays.sequence, *range(5, MAXIMUM_ENDED + 5)]


async def test_a_connection_takes_a_channel_from_another(store: ChannelStore) -> None:
    channel = await a_channel(store)
    made, _ = await store.subscribe(channel.id, a_subscription())
    first = await store.attach(channel.id, "c1")
    assert first.taken_from == ""
    assert list(first.subscriptions) == [made]
    assert await store.is_released(channel.id)
    second = await store.attach(channel.id, "c2")
    assert (second.channel.cursor, second.taken_from) == ("", "c1")
    assert not await store.is_released(channel.id)
    assert await store.refresh([(channel.id, "c1")]) == [(second.channel.version, "c2")]
    await store.detach(Served(channel.id, "c1", "old", 1))
    assert await store.is_released(channel.id)
    assert await _served(store, channel.id) == ("old", 1)
    for name, cursor in (("c1", "older"), ("c2", "new")):
        await store.save_cursors([Served(channel.id, name, cursor, 1)])
        await store.detach(Served(channel.id, "c1", "older", 1))
    assert await _served(store, channel.id) == ("new", 1)
    await store.detach(Served(channel.id, "c2", "newer", 1))
    third = await store.attach(channel.id, "c3")
    assert (third.channel.cursor, third.taken_from) == ("newer", "")
    await store.save_cursors([Served(channel.id, "c3", "", 0)])
    await store.detach(Served(channel.id, "c3", "", 0))
    assert await _served(store, channel.id) == ("newer", 1)


async def test_who_has_begun_hears_no_more_of_who_had_the_channel_before(
    store: ChannelStore,
) -> None:
    channel = await a_channel(store)
    await store.attach(channel.id, "c1")
    await store.attach(channel.id, "c2")
    assert not await store.is_released(channel.id)
    await store.save_cursors([Served(channel.id, "c2", "new", 1)])
    assert await store.is_released(channel.id)
    await store.detach(Served(channel.id, "c1", "old", 0))
    assert await _served(store, channel.id) == ("new", 1)


async def _served(store: ChannelStore, channel_id: str) -> tuple[str, int]:
    found = await store.get(channel_id)
    assert found is not None
    return found.cursor, found.seen_generation


async def test_some_subscriptions_are_looked_at_alone(store: ChannelStore) -> None:
    channel = await a_channel(store)
    made = [(await store.subscribe(channel.id, a_subscription(n)))[0] for n in range(5)]
    found = await store.look(channel.id, [4, 2, 77])
    assert found is not None
    assert list(found.subscriptions) == [made[1], made[3]]
    assert found.channel.generation == 5
    assert await store.look("nobody", [1]) is None


async def test_where_an_object_moved_to_is_kept(store: ChannelStore) -> None:
    channel = await a_channel(store)
    made, _ = await store.subscribe(channel.id, a_subscription())
    place = channels.Place(
        inode=made.inode,
        is_directory=True,
        shard="sim",
        positions={},
        path="/elsewhere",
        ancestors=b"\0" * 18,
        permissions="0:0:755 0:0:700",
    )
    await store.move(channel.id, made.sequence, place)
    found = await store.subscription(channel.id, "inotify", made.id)
    assert found is not None
    assert (found.path, found.permissions) == ("/elsewhere", "0:0:755 0:0:700")
    assert (found.selector, found.since) == (made.selector, made.since)


async def test_a_snapshot_is_read_from_any_place(store: ChannelStore) -> None:
    channel = await a_channel(store)
    payloads = [f'{{"name":"{n}"}}' for n in range(1203)]
    name = await store.put_snapshot(channel.id, payloads)

    async def read(after: int) -> list[str]:
        return [
            one
            async for chunk in await store.read_snapshot(channel.id, name, after)
            for one in chunk
        ]

    assert await read(0) == payloads
    assert await read(1201) == payloads[1201:]
    assert await read(1203) == []
    await store.drop_snapshot(channel.id, name)
    assert await read(0) == []


async def test_nodes_hear_of_changes(store: ChannelStore) -> None:
    channel = await a_channel(store)
    heard: asyncio.Queue[Notice] = asyncio.Queue()

    async def listen() -> None:
        async for notice in store.notices():
            await heard.put(notice)

    listener = asyncio.create_task(listen())
    async with asyncio.timeout(30):
        while heard.empty():
            await store.set_timeout(channel.id, 60)
            await asyncio.sleep(0.02)
        while not heard.empty():
            assert await heard.get() == Notice(channel.id, "changed", sequence=0)
        made, _ = await store.subscribe(channel.id, a_subscription())
        await store.attach(channel.id, "c1")
        await store.unsubscribe(channel.id, "inotify", made.id, {})
        await store.delete(channel.id)
        news = []
        while not news or news[-1].kind != "closed":
            news.append(await heard.get())
    listener.cancel()
    assert news[-4:] == [
        Notice(channel.id, "changed", sequence=made.sequence),
        Notice(channel.id, "attached", "c1"),
        Notice(channel.id, "changed", sequence=made.sequence),
        Notice(channel.id, "closed"),
    ]


async def test_the_server_key_is_made_once(store: ChannelStore) -> None:
    key = await store.server_key()
    assert len(key) == 32
    assert await store.server_key() == key


async def test_a_lost_channel_is_made_again(store: ChannelStore) -> None:
    channel = await a_channel(store, client_id="me")
    active, _ = await store.subscribe(channel.id, a_subscription(1))
    ended, _ = await store.subscribe(channel.id, a_subscription(2))
    await store.unsubscribe(channel.id, "inotify", ended.id, {"sim": 44})
    await store.attach(channel.id, "c1")
    await store.save_cursors([Served(channel.id, "c1", "cursor", 1)])
    kept = await store.reload(channel.id)
    assert kept is not None
    await store.restore(kept, "c1")
    await store.delete(channel.id)
    await store.restore(kept, "c1")
    again = await store.reload(channel.id)
    assert again is not None
    assert again.channel == kept.channel
    assert list(again.subscriptions) == list(kept.subscriptions)
    assert await store.subscriptions(channel.id) == [active]
    assert await store.list_ids("1", "me") == [channel.id]
    await store.ping()
