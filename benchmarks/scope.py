"""What the permission check costs, for each event and subscriber.

    python -m benchmarks scope [--principals 1000] [--scopes 2000] [--events 20000]

Scopes have three entries that not everybody passes, principals are in one to four of six groups.
*live*: each event goes to fifty subscribers, and four events in five are in one of the last
hundred directories: what an API node does. *cold*: every pair of principal and scope is new.
"""

from __future__ import annotations

import json
import random
import time
from typing import TYPE_CHECKING, Any

from benchmarks import options
from pipeline.authz import scope
from pipeline.authz.principal import Principal

if TYPE_CHECKING:
    from collections.abc import Sequence

_GROUPS = range(2000, 2006)
_SUBSCRIBERS = 50
_NEAR = 100
QUICK = {"principals": 100, "scopes": 200, "events": 2_000}
TAKES_S = (10, 1)


def _principals(chance: random.Random, count: int) -> list[Principal]:
    return [
        Principal(f"u{n}", 10_000 + n, (10_000 + n, *chance.sample(_GROUPS, chance.randint(1, 4))))
        for n in range(count)
    ]


def _scopes(chance: random.Random, count: int) -> list[str]:
    """Return scopes of three entries: an area, a project in it and an owner's directory."""
    made = []
    for _ in range(count):
        area, project = chance.sample(_GROUPS, 2)
        owner = 10_000 + chance.randrange(1000)
        permissions = ["0:0:755", f"0:{area}:750", f"0:{project}:770|A:fd:g={area}:rx"]
        made.append(scope.named_scope(" ".join([*permissions, f"{owner}:{project}:750", "0:0:0"])))
    assert all(text.count(" ") == 2 for text in made)
    return made


def _live(
    chance: random.Random, principals: list[Principal], scopes: list[str], events: int
) -> Any:
    """Return what `events` events are: (scope, who subscribes)."""
    near = scopes[:_NEAR]
    return [
        (
            chance.choice(near if chance.random() < 0.8 else scopes),
            chance.sample(principals, _SUBSCRIBERS),
        )
        for _ in range(events)
    ]


def _timed(events: Any) -> tuple[int, float, int]:
    """Decide about all; return how many decisions, the seconds of CPU, and how many were yes."""
    may_see = scope.may_see
    allowed = 0
    # as it comes from the codec, each event has a text of its own
    fresh = [(text.encode().decode(), subscribers) for text, subscribers in events]
    begun = time.process_time()
    for text, subscribers in fresh:
        for principal in subscribers:
            allowed += may_see(principal, text)
    seconds = time.process_time() - begun
    return sum(len(subscribers) for _, subscribers in events), seconds, allowed


def run(arguments: Sequence[str] = ()) -> dict[str, Any]:
    """Measure, print a table and a line of JSON; return its content."""
    parser = options.parser("scope", __doc__)
    parser.add_argument("--principals", type=int, default=1000)
    parser.add_argument("--scopes", type=int, default=2000)
    parser.add_argument("--events", type=int, default=20_000)
    given = options.given(parser, arguments, QUICK)
    chance = random.Random(1)
    principals = _principals(chance, given.principals)
    scopes = _scopes(chance, given.scopes)
    live = _live(chance, principals, scopes, given.events)
    cold = [(text, principals) for text in scopes[:200]]
    results: dict[str, Any] = {"benchmark": "scope"}
    for name, events in (("live", live), ("live, warm", live), ("cold", cold)):
        if name == "cold":
            for principal in principals:
                principal.decisions.clear()
        checks, seconds, allowed = _timed(events)
        results[name] = {
            "checks": checks,
            "ns_each": round(seconds / checks * 1e9),
            "allowed": round(allowed / checks, 3),
        }
    if not given.json:
        print(f"{'':12} {'checks':>10} {'ns each':>8} {'allowed':>8}")
        for name, row in results.items():
            if isinstance(row, dict):
                print(f"{name:12} {row['checks']:10,} {row['ns_each']:8,} {row['allowed']:8.1%}")
        remembered = sum(len(principal.decisions) for principal in principals)
        print(f"decisions remembered: {remembered:,} of at most {given.principals * 1024:,}")
    print(json.dumps(results))
    return results


if __name__ == "__main__":
    run()
