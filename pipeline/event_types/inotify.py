"""inotify(7) for the storage: what clients ask for and what they are told.

One operation of the storage is one message (`inotify_derivation`); this module says what of it a
watch is told, and how that looks as JSON. The page "What inotify means here" describes it for
users and lists the deliberate differences from the kernel.
"""

from __future__ import annotations

import functools
import json
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple

from pipeline.authz import scope
from pipeline.event_types import (
    details,
    globs,
    inotify_derivation,
    inotify_schemas,
    selectors,
    subtree,
)
from pipeline.event_types.base import Telling, Watch
from schemas import topics, vocabulary
from schemas.vocabulary import FILE_ID_BYTES, Role

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from schemas.records import BillingRecord


class _Event(NamedTuple):
    """One event of a message as a certain inode's watchers are told it, before any filter."""

    at: int
    mask: int
    name: str | None
    scope: str
    path: str


def _events(message: Mapping[str, Any], watched: bytes, *, recursive: bool) -> list[_Event]:
    """Return what a message says to the watchers of an inode."""
    inodes, names, scopes = message["watched"], message["names"], message["scopes"]
    events = []
    for index, (mask, place) in enumerate(zip(message["masks"], message["to"], strict=True)):
        from_source = message["roles"][place] == Role.SOURCE_PARENT
        path = message["source_path"] if from_source else message["path"]
        name, needed = names[place], scopes[place]
        if inodes[place * FILE_ID_BYTES : (place + 1) * FILE_ID_BYTES] != watched:
            if not recursive or name is None:
                continue
            above = message["source_ancestors" if from_source else "ancestors"]
            depth = subtree.depth(watched, above)
            if depth is None:
                continue
            name = subtree.below(path, depth)
            needed = scope.recursive_scope(needed, message["unlisted"][place], depth)
        events.append(_Event(index, mask, name, needed, path))
    return events


@functools.cache
def _mask_json(mask: int) -> str:
    return json.dumps(vocabulary.mask_names(mask), separators=(",", ":"))


def payload(mask: int, name: str | None = None, cookie: str | None = None, more: str = "") -> str:
    """Write the `event` member as dCache does: name, cookie, mask; what is not there is absent.

    Args:
        mask: the event's bits.
        name: of the object in the watched directory, or its path below it.
        cookie: pairs the halves of a rename.
        more: the JSON value of a member `details`.
    """
    named = f'"name":{json.dumps(name)},' if name is not None else ""
    paired = f'"cookie":{json.dumps(cookie)},' if cookie is not None else ""
    detailed = f',"details":{more}' if more else ""
    return f'{{{named}{paired}"mask":{_mask_json(mask)}{detailed}}}'


IGNORED_PAYLOAD: Final = payload(vocabulary.IN_IGNORED)
OVERFLOW_PAYLOAD: Final = payload(vocabulary.IN_Q_OVERFLOW)


def _wanted(event: _Event, message: Mapping[str, Any], watch: Watch) -> bool:
    """Whether a watch's filters let an event through (its mask is looked at elsewhere)."""
    if (
        event.name is not None
        and (watch.include or watch.exclude)
        and not globs.selects(watch.include, watch.exclude, event.name)
    ):
        return False
    size = message["size_bytes"]
    if size is None or message["is_directory"] or not event.mask & vocabulary.IN_CLOSE:
        return True
    least, most = watch.min_size_bytes, watch.max_size_bytes
    return (least is None or size >= least) and (most is None or size <= most)


def _tellings(message: Mapping[str, Any], watch: Watch, watched: bytes) -> Iterator[Telling]:
    for event in _events(message, watched, recursive=watch.recursive):
        ends = event.name is None and bool(event.mask & vocabulary.IN_DELETE_SELF)
        text = ""
        if event.mask & watch.mask and _wanted(event, message, watch):
            cookie = message["cookie"] if event.mask & vocabulary.IN_MOVE else None
            more = details.inotify(message, event.name, watch) if watch.details else ""
            text = payload(event.mask, event.name, cookie, more)
        if text or ends:
            yield Telling(event.at, event.scope, event.path, text, event.mask, ends)


class Inotify:
    """The event type; see the module.

    `tell` remembers what it found for the message it was last asked about: one message is told to
    many watches, most of which ask for the same.
    """

    name: ClassVar[str] = "inotify"
    description: ClassVar[str] = (
        "Changes and accesses of files and directories, in the manner of inotify(7)."
    )
    topic: ClassVar[topics.Topic] = topics.Topic("inotify", "inotify", 7 * topics.DAYS)
    selector_schema: ClassVar[Mapping[str, Any]] = inotify_schemas.SELECTOR
    event_schema: ClassVar[Mapping[str, Any]] = inotify_schemas.EVENT
    watches_namespace: ClassVar[bool] = True

    def __init__(self) -> None:
        self._remembered: tuple[Mapping[str, Any] | None, dict[Any, Any]] = (None, {})

    def derive(self, record: BillingRecord) -> Sequence[Mapping[str, Any]]:
        """Return the message that follows from a record, if one does."""
        return inotify_derivation.derive(record)

    def parse(self, selector: Any) -> Watch:
        """Check a selector as it came from JSON.

        Raises:
            BadSelector: with dCache's text.
        """
        members = selectors.Members(selector, inotify_schemas.SELECTOR["properties"])
        mask, modifiers = members.flags()
        return selectors.namespace_watch(members).replace(
            mask=mask,
            modifiers=modifiers,
            min_size_bytes=members.size("min_size"),
            max_size_bytes=members.size("max_size"),
            snapshot=members.boolean("snapshot"),
        )

    def tell(self, message: Mapping[str, Any], watch: Watch, watched: bytes) -> Sequence[Telling]:
        """Return what a message tells a watch on inode `watched`, in order; often nothing."""
        remembered = self._remembered
        if remembered[0] is not message:
            remembered = self._remembered = (message, {})
        memory = remembered[1]
        key: Any = (watched, watch.mask, watch.recursive)
        if (
            watch.details
            or watch.include
            or watch.exclude
            or watch.min_size_bytes is not None
            or (watch.max_size_bytes is not None)
        ):
            key = (watched, watch)
        tellings: tuple[Telling, ...] | None = memory.get(key)
        if tellings is None:
            tellings = memory[key] = tuple(_tellings(message, watch, watched))
        return tellings


EVENT_TYPE: Final = Inotify()
