"""What to do after a loss of power, when commits were not forced to the disk.

The database may then have gone back to an earlier state, and numbers that Kafka has already seen
would be given out again, for other records: consumers would drop those as repeats. So the numbers
jump ahead; the hole says truthfully that something was lost.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import sqlite3

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS run (
    one INTEGER PRIMARY KEY CHECK (one = 1), boot TEXT NOT NULL, at_risk INTEGER NOT NULL
);
"""
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_JUMP: Final = 1_000_000
"""More records than there can be between two checkpoints of the database."""


def boot_id() -> str:
    """Return what changes with each start of the machine; "" where it cannot be known."""
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def begin(db: sqlite3.Connection, boot: str, *, sync: bool) -> bool:
    """Note a new run, in the open transaction; return whether the numbers had to jump.

    Args:
        db: the open transaction.
        boot: this start of the machine.
        sync: whether this run forces its commits to the disk.
    """
    before = db.execute("SELECT boot, at_risk FROM run").fetchone()
    jumped = before is not None and bool(before[1]) and before[0] != boot
    if jumped:
        db.execute("UPDATE shards SET number = number + ?", (_JUMP,))
    db.execute("INSERT OR REPLACE INTO run VALUES (1, ?, ?)", (boot, int(not sync)))
    return jumped


def end(db: sqlite3.Connection) -> None:
    """Note that a run ended in order: the database is whole on the disk when it is closed."""
    db.execute("UPDATE run SET at_risk = 0")
