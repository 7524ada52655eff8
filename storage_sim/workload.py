"""Streams of operations as real users make them, each decided by its seed; pure.

What an operation is about is there when its turn comes, provided that all before it were done.
"""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KIBIBYTES: Final = 1 << 10


@dataclass(frozen=True, slots=True)
class Operation:
    """One request to the WebDAV door.

    Attributes:
        method: MKCOL, PUT, GET, MOVE or DELETE.
        path: what it is about.
        target: where a MOVE leads.
        size_bytes: how much a PUT uploads.
    """

    method: str
    path: str
    target: str = ""
    size_bytes: int = 0


def telescope(root: str, seed: int) -> Iterator[Operation]:
    """Yield nights at a telescope: exposures come in bursts, written aside and renamed when whole.

    Now and then a bad one is deleted; each is looked at once, by the observer.
    """
    chance = random.Random(seed)  # noqa: S311 - a workload, not a secret
    for night in itertools.count(1):
        folder = f"{root}/night-{night:04d}"
        yield Operation("MKCOL", folder)
        for exposure in range(chance.randint(20, 60)):
            name = f"{folder}/exposure-{exposure:05d}.fits"
            yield Operation("PUT", f"{name}.part", size_bytes=chance.randint(16, 64) * KIBIBYTES)
            yield Operation("MOVE", f"{name}.part", target=name)
            yield Operation("GET", name)
            if chance.random() < 0.05:
                yield Operation("DELETE", name)
        yield Operation("PUT", f"{folder}/night.log", size_bytes=chance.randint(1, 8) * KIBIBYTES)


def analysis(root: str, seed: int) -> Iterator[Operation]:
    """Yield users at their analysis: few inputs, read over and over, and many small results."""
    chance = random.Random(seed)  # noqa: S311 - a workload, not a secret
    inputs = [f"{root}/input-{number}.root" for number in range(10)]
    for path in inputs:
        yield Operation("PUT", path, size_bytes=256 * KIBIBYTES)
    for job in itertools.count(1):
        folder = f"{root}/job-{job:05d}"
        yield Operation("MKCOL", folder)
        for path in chance.sample(inputs, chance.randint(1, 5)):
            yield Operation("GET", path)
        for number in range(chance.randint(1, 10)):
            yield Operation(
                "PUT", f"{folder}/histogram-{number}.json", size_bytes=chance.randint(100, 4000)
            )
        if job % 10 == 0:
            yield Operation("MOVE", folder, target=f"{root}/kept-{job:05d}")
        elif chance.random() < 0.5:
            yield Operation("DELETE", folder)


def churn(root: str, seed: int) -> Iterator[Operation]:
    """Yield anything that can happen to a few hundred small files, in any order."""
    chance = random.Random(seed)  # noqa: S311 - a workload, not a secret
    folders = [f"{root}/churn-{number}" for number in range(8)]
    for folder in folders:
        yield Operation("MKCOL", folder)
    files: list[str] = []
    for number in itertools.count():
        index = chance.randrange(len(files)) if files else 0
        what = chance.random() if len(files) > 10 else 0.0
        if what < 0.4 and len(files) < 500:
            files.append(f"{chance.choice(folders)}/file-{number}")
            yield Operation("PUT", files[-1], size_bytes=chance.randint(0, 2000))
        elif what < 0.5:
            yield Operation("PUT", files[index], size_bytes=chance.randint(0, 2000))
        elif what < 0.7:
            target = f"{chance.choice(folders)}/moved-{number}"
            yield Operation("MOVE", files[index], target=target)
            files[index] = target
        elif what < 0.85:
            yield Operation("GET", files[index])
        else:
            yield Operation("DELETE", files.pop(index))


KINDS: Final[dict[str, Callable[[str, int], Iterator[Operation]]]] = {
    "telescope": telescope,
    "analysis": analysis,
    "churn": churn,
}
