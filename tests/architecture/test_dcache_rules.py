"""Every row of dCache's API has a case of its own in the contract suite."""

from __future__ import annotations

import ast
from pathlib import Path

CONTRACT = Path(__file__).parents[1] / "contract"
_TYPES = "/events/eventTypes"
_CHANNELS = "/events/channels"
_SUBSCRIPTIONS = f"{_CHANNELS}/C/subscriptions"

RULES = {f"R{number}" for number in range(1, 25)}
"""What real clients enforce."""

ENDPOINTS = {
    "GET /events",
    f"GET {_TYPES}", f"GET {_TYPES}/T", f"GET {_TYPES}/T/selector", f"GET {_TYPES}/T/event",
    f"GET {_CHANNELS}", f"POST {_CHANNELS}",
    f"GET {_CHANNELS}/C as a stream", f"GET {_CHANNELS}/C as JSON",
    f"PATCH {_CHANNELS}/C", f"DELETE {_CHANNELS}/C",
    f"GET {_SUBSCRIPTIONS}", f"POST {_SUBSCRIPTIONS}/T",
    f"GET {_SUBSCRIPTIONS}/T/S", f"DELETE {_SUBSCRIPTIONS}/T/S",
}  # fmt: skip
"""C: a channel, T: an event type, S: a subscription."""

SYSTEM = {
    "NEW_SUBSCRIPTION", "SUBSCRIPTION_CLOSED", "EVENT_LOSS", "COMPETING_CLIENT", "SHUTDOWN",
}  # fmt: skip


def named() -> dict[str, list[str]]:
    """Return the tests that say which row they are a case of, by row."""
    found: dict[str, list[str]] = {}
    for file in sorted(CONTRACT.glob("test_dcache_api_*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            for mark in node.decorator_list:
                if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.rule":
                    for name in mark.args:
                        row = ast.literal_eval(name)
                        found.setdefault(row, []).append(f"{file.name}:{node.name}")
    return found


def test_every_row_has_a_case() -> None:
    """Rules, endpoints and SYSTEM events; and no case is of a row that there is not."""
    assert named().keys() == RULES | ENDPOINTS | SYSTEM
