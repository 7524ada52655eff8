"""The operations on the storage: its records, derived and told to watches."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pipeline.event_types.inotify import EVENT_TYPE
from schemas import codec, vocabulary
from storage_sim import outbox
from storage_sim.billing import Biller
from storage_sim.core import SYSTEM
from storage_sim.errors import OperationFailed
from storage_sim.storage import Storage
from tests.conformance.kernel import operations as op
from tests.conformance.kernel.told import Told

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pipeline.event_types.base import Watch

BASE = "/t"
"""Above the tree there is a directory in both worlds, for links that lead up."""

_BITS = {
    **vocabulary.EVENT_FLAGS,
    **{name: getattr(vocabulary, name) for name in ("IN_IGNORED", "IN_ISDIR")},
}


class Simulated:
    """A storage, and the watches of one channel: a model of what the API does with them."""

    def __init__(self, folder: Path, *, shard_depth: int = 0) -> None:
        self.storage = Storage(
            folder, biller=Biller("sim", shard_depth), sync=False, bill_listings=True
        )
        self.storage.mkdir(SYSTEM, BASE)
        self.watches: dict[bytes, tuple[int, Watch]] = {}
        self._sequence = 0

    def close(self) -> None:
        self.storage.close()

    def run(self, operation: op.Operation, watch_number: int | None) -> None:
        """Do it; for AddWatch, as the watch of that number. Raises OperationFailed."""
        storage = self.storage
        path = f"{BASE}/{operation.path}" if hasattr(operation, "path") else ""
        match operation:
            case op.Make():
                storage.mkdir(SYSTEM, path)
            case op.RemoveDirectory():
                storage.rmdir(SYSTEM, path)
            case op.Write(_, size, how):
                modes = {how: True} if how != "overwrite" else {}
                storage.write(SYSTEM, path, b"x" * size, **modes)
            case op.Truncate(_, size):
                storage.truncate(SYSTEM, path, size)
            case op.Read():
                storage.read(SYSTEM, path)
            case op.ListDirectory():
                storage.listing(SYSTEM, path)
            case op.Unlink():
                storage.delete(SYSTEM, path)
            case op.Rename(source, target):
                storage.rename(SYSTEM, f"{BASE}/{source}", f"{BASE}/{target}")
            case op.Link(target):
                storage.symlink(SYSTEM, target, path)
            case op.Chmod(_, mode):
                storage.chmod(SYSTEM, path, mode)
            case op.Times():
                storage.set_modified(SYSTEM, path, 1)
            case op.SetXattr():
                storage.set_xattr(SYSTEM, path, "x", "1")
            case op.RemoveXattr():
                storage.rm_xattr(SYSTEM, path, "x")
            case op.AddWatch(_, flags):
                self._watch(path, flags, watch_number)

    def _watch(self, path: str, flags: tuple[str, ...], number: int | None) -> None:
        watch = EVENT_TYPE.parse({"path": path, "flags": list(flags)})
        follow = not watch.modifiers & vocabulary.IN_DONT_FOLLOW
        inode = self.storage.stat(SYSTEM, path, follow=follow).found
        if watch.modifiers & vocabulary.IN_ONLYDIR and not inode.is_directory:
            raise OperationFailed(20)
        old_number, old = self.watches.get(inode.id, (number, None))
        assert number in (None, old_number), "two paths to one inode are one watch"
        if old is not None and watch.modifiers & vocabulary.IN_MASK_ADD:
            watch = watch.replace(
                mask=watch.mask | old.mask, modifiers=watch.modifiers | old.modifiers
            )
        assert old_number is not None
        self.watches[inode.id] = (old_number, watch)

    def messages(self) -> list[dict[str, Any]]:
        """Return the inotify messages since the last call, through the codec."""
        with self.storage.database.read() as db:
            pending = outbox.pending(db, self._sequence, 10_000)
        messages: list[dict[str, Any]] = []
        for record in pending:
            self._sequence = record.sequence
            derived = EVENT_TYPE.derive(codec.decode("billing", record.value))
            messages += [
                codec.decode("inotify", codec.encode("inotify", message)) for message in derived
            ]
        return messages

    def told(self) -> list[Told]:
        """Return what the watches were told since the last call, in order."""
        return [told for message in self.messages() for told in self._tell(message)]

    def _tell(self, message: dict[str, Any]) -> Iterator[Told]:
        found = [
            (telling, inode)
            for inode, (_, watch) in self.watches.items()
            for telling in EVENT_TYPE.tell(message, watch, inode)
        ]
        found.sort(key=lambda pair: pair[0].index)
        for telling, inode in found:
            if inode not in self.watches:
                continue
            number, watch = self.watches[inode]
            if telling.payload:
                yield _told(number, json.loads(telling.payload))
            once = telling.payload and watch.modifiers & vocabulary.IN_ONESHOT
            if telling.ends_watch or once:
                del self.watches[inode]
                yield Told(number, vocabulary.IN_IGNORED, "", paired=False)


def _told(number: int, event: dict[str, Any]) -> Told:
    mask = 0
    for name in event["mask"]:
        mask |= _BITS[name]
    return Told(number, mask, event.get("name", ""), "cookie" in event)
