"""Limits with names: how often, how many at once, and how many wrong passwords.

All of it is arithmetic on dictionaries with the clock passed in. Every dictionary is bounded: the
least recently used entry leaves first, so a stranger with many addresses cannot fill the memory.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from api import problems
from pipeline.authz.addresses import client_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

V = TypeVar("V")


class Recent(Generic[V]):
    """A dictionary of the most recently used keys, at most `size` of them."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._items: OrderedDict[str, V] = OrderedDict()

    def __len__(self) -> int:
        return len(self._items)

    def get(self, key: str) -> V | None:
        """Return the value and mark it as used."""
        if key in self._items:
            self._items.move_to_end(key)
        return self._items.get(key)

    def put(self, key: str, value: V) -> None:
        """Keep a value; the least recently used one leaves when there are too many."""
        self._items[key] = value
        self._items.move_to_end(key)
        if len(self._items) > self._size:
            self._items.popitem(last=False)

    def drop(self, key: str) -> None:
        """Forget a key, if it is there."""
        self._items.pop(key, None)


class RateLimit:
    """A token bucket for each key.

    Args:
        name: what a 429 says.
        per_second: requests a second in the long run; 0: no limit.
        burst: requests at once.
        clock: monotonic seconds.
        keys: how many keys are remembered.
    """

    def __init__(
        self,
        name: str,
        per_second: float,
        burst: float,
        *,
        clock: Callable[[], float],
        keys: int = 10_000,
    ) -> None:
        self.name = name
        self._per_second = per_second
        self._burst = burst
        self._clock = clock
        self._buckets: Recent[tuple[float, float]] = Recent(keys)

    def spend(self, key: str) -> None:
        """Take one token.

        Raises:
            Problem: 429 with Retry-After when the bucket is empty.
        """
        if not self._per_second:
            return
        now = self._clock()
        tokens, then = self._buckets.get(key) or (self._burst, now)
        tokens = min(self._burst, tokens + (now - then) * self._per_second)
        if tokens < 1:
            self._buckets.put(key, (tokens, now))
            wait_s = (1 - tokens) / self._per_second
            raise problems.limited(self.name, self._per_second, retry_after_s=wait_s)
        self._buckets.put(key, (tokens - 1, now))


class AtOnce:
    """How many of something each key has open.

    Args:
        name: what a 429 says.
        maximum: how many; 0: no limit.
    """

    def __init__(self, name: str, maximum: int) -> None:
        self.name = name
        self.maximum = maximum
        self._open: dict[str, int] = {}

    def take(self, key: str) -> None:
        """Count one more.

        Raises:
            Problem: 429 when there are as many as allowed.
        """
        count = self._open.get(key, 0)
        if self.maximum and count >= self.maximum:
            raise problems.limited(self.name, self.maximum)
        self._open[key] = count + 1

    def give_back(self, key: str) -> None:
        """Count one less."""
        count = self._open.get(key, 0) - 1
        if count > 0:
            self._open[key] = count
        else:
            self._open.pop(key, None)


class WrongPasswords:
    """Slows down whoever tries passwords: after some failures an address and user must wait.

    A right password clears the count of its user at that address; others' failures elsewhere do
    not lock a user out. A user with whatever role is one user.

    Args:
        free: failures without a wait.
        wait_s: the wait after the next one, in seconds; it doubles with each further failure.
        longest_s: the longest wait, in seconds.
        clock: monotonic seconds.
        keys: how many pairs are remembered.
    """

    name = "login-failures"

    def __init__(
        self,
        free: int,
        wait_s: float,
        longest_s: float,
        *,
        clock: Callable[[], float],
        keys: int = 10_000,
    ) -> None:
        self._free = free
        self._wait_s = wait_s
        self._longest_s = longest_s
        self._clock = clock
        self._failures: Recent[tuple[int, float]] = Recent(keys)
        self._tried: dict[str, Counter[str]] = {}

    def check(self, address: str, user: str) -> None:
        """Refuse an attempt that comes too early.

        Raises:
            Problem: 429 with Retry-After.
        """
        for key, free in self._keys(address, user):
            count, until = self._failures.get(key) or (0, 0.0)
            left_s = until - self._clock()
            if count > free and left_s > 0:
                raise problems.limited(self.name, free, retry_after_s=left_s)

    @contextmanager
    def trying(self, address: str, user: str, password: str) -> Iterator[None]:
        """Hold a password while it is tried: no more different ones at once than are free.

        Raises:
            Problem: 429 with Retry-After.
        """
        key = self._keys(address, user)[0][0]
        tried = self._tried.setdefault(key, Counter())
        if password not in tried and len(tried) >= max(1, self._free):
            raise problems.limited(self.name, self._free, retry_after_s=self._wait_s)
        tried[password] += 1
        try:
            yield
        finally:
            tried[password] -= 1
            if not tried[password]:
                del tried[password]
            if not tried:
                self._tried.pop(key, None)

    def failed(self, address: str, user: str) -> None:
        """Count a failure."""
        for key, free in self._keys(address, user):
            count, until = self._failures.get(key) or (0, 0.0)
            now = self._clock()
            if now > until + self._longest_s:
                count = 0
            count += 1
            over = min(max(0, count - free - 1), 30)
            wait_s = min(self._longest_s, self._wait_s * 2**over) if count > free else 0.0
            self._failures.put(key, (count, now + wait_s))

    def succeeded(self, address: str, user: str) -> None:
        """Forget a user's failures at that address."""
        self._failures.drop(self._keys(address, user)[0][0])

    def _keys(self, address: str, user: str) -> tuple[tuple[str, int], tuple[str, int]]:
        client, name = client_of(address), user.rpartition("#")[0] or user
        return (f"{client} {name}", self._free), (client, 10 * self._free)


@dataclass(frozen=True, slots=True)
class Limits:
    """All limits of a node.

    Attributes:
        channels_per_user: channels that a user may own (over all nodes).
        subscriptions_per_channel: subscriptions in one channel.
        body_bytes: the longest request body that this service reads itself.
        selector_bytes: the longest selector.
        passed_body_bytes: the longest body passed through to the storage.
        body_timeout_s: how long a body may take to arrive, in seconds.
        requests_per_address: rate of requests from one address.
        requests_per_user: rate of requests of one user.
        connections_per_address: streams open at once from one address, on this node.
        passed_per_user: requests of one user that are passed through to the storage at once.
        connections_per_user: streams of one user open at once, on this node.
        wrong_passwords: slows down guessing.
    """

    channels_per_user: int
    subscriptions_per_channel: int
    body_bytes: int
    selector_bytes: int
    passed_body_bytes: int
    body_timeout_s: float
    requests_per_address: RateLimit
    requests_per_user: RateLimit
    connections_per_address: AtOnce
    connections_per_user: AtOnce
    passed_per_user: AtOnce
    wrong_passwords: WrongPasswords

    @contextmanager
    def connection(self, uid: int, address: str) -> Iterator[None]:
        """Count a stream while it is open.

        Raises:
            Problem: 429 when the user or the address has too many.
        """
        user, client = str(uid), client_of(address)
        self.connections_per_user.take(user)
        try:
            self.connections_per_address.take(client)
            try:
                yield
            finally:
                self.connections_per_address.give_back(client)
        finally:
            self.connections_per_user.give_back(user)

    def table(self) -> Mapping[str, float]:
        """Return each limit's name and value, for the documentation and the tests."""
        return {
            "channels-per-user": self.channels_per_user,
            "subscriptions-per-channel": self.subscriptions_per_channel,
            "body-bytes": self.body_bytes,
            "selector-bytes": self.selector_bytes,
            "passed-body-bytes": self.passed_body_bytes,
            self.connections_per_address.name: self.connections_per_address.maximum,
            self.connections_per_user.name: self.connections_per_user.maximum,
            self.passed_per_user.name: self.passed_per_user.maximum,
        }
