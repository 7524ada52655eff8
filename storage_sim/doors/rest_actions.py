"""What a POST to the namespace may ask for: a body to an operation of the storage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from storage_sim.errors import invalid

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.authz.principal import Principal
    from storage_sim.billing import Origin
    from storage_sim.storage import Storage

    Action = Callable[[Storage, Principal, str, Origin], Any]


def parse(body: Any) -> Action:
    """Return what a body asks for.

    Raises:
        OperationFailed: EINVAL, saying what is wrong with it.
    """
    if not isinstance(body, dict):
        raise invalid("the body must be a JSON object")
    body = dict(body)
    name = body.pop("action", None)
    make = _ACTIONS.get(name) if isinstance(name, str) else None
    if make is None:
        raise invalid(f"unknown action: {name!r}; there are {', '.join(sorted(_ACTIONS))}")
    action = make(body)
    if body:
        raise invalid(f"action {name} has no {', '.join(sorted(body))}")
    return action


def _text(body: dict[str, Any], member: str) -> str:
    value = body.pop(member, None)
    if not isinstance(value, str):
        raise invalid(f"{member} must be a text")
    return value


def _integer(body: dict[str, Any], member: str) -> int:
    value = body.pop(member, None)
    if not isinstance(value, int) or isinstance(value, bool):
        raise invalid(f"{member} must be a number")
    return value


def _mkdir(body: dict[str, Any]) -> Action:
    name = _text(body, "name")
    if "/" in name or name in ("", ".", ".."):
        raise invalid(f"not a name: {name!r}")
    return lambda storage, who, path, origin: storage.mkdir(
        who, f"{path.rstrip('/')}/{name}", origin
    )


def _mv(body: dict[str, Any]) -> Action:
    destination = _text(body, "destination")
    if not destination:
        raise invalid("destination must not be empty")

    def move(storage: Storage, who: Principal, path: str, origin: Origin) -> None:
        target = destination
        if not target.startswith("/"):
            target = f"{path.rstrip('/').rpartition('/')[0]}/{target}"
        storage.rename(who, path, target, origin)

    return move


def _chmod(body: dict[str, Any]) -> Action:
    mode = _integer(body, "mode")
    return lambda storage, who, path, origin: storage.chmod(who, path, mode, origin)


def _chgrp(body: dict[str, Any]) -> Action:
    gid = _integer(body, "gid")
    return lambda storage, who, path, origin: storage.chown(who, path, origin, gid=gid)


def _chown(body: dict[str, Any]) -> Action:
    uid = _integer(body, "uid")
    gid = _integer(body, "gid") if "gid" in body else None
    return lambda storage, who, path, origin: storage.chown(who, path, origin, uid=uid, gid=gid)


def _acl(body: dict[str, Any]) -> Action:
    acl = _text(body, "acl")
    return lambda storage, who, path, origin: storage.set_acl(who, path, acl, origin)


def _symlink(body: dict[str, Any]) -> Action:
    target = _text(body, "target")
    return lambda storage, who, path, origin: storage.symlink(who, target, path, origin)


def _set_xattr(body: dict[str, Any]) -> Action:
    attributes = body.pop("attributes", None)
    if not isinstance(attributes, dict) or not attributes:
        raise invalid("attributes must be an object of names and texts")
    named = dict(attributes)
    texts = {name: _text(named, name) for name in attributes}

    def set_all(storage: Storage, who: Principal, path: str, origin: Origin) -> None:
        for name, value in texts.items():
            storage.set_xattr(who, path, name, value, origin)

    return set_all


def _names(body: dict[str, Any]) -> list[str]:
    names = body.pop("names", None)
    names = [names] if isinstance(names, str) else names
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise invalid("names must be a text or a list of texts")
    return names


def _rm_xattr(body: dict[str, Any]) -> Action:
    names = _names(body)

    def remove_all(storage: Storage, who: Principal, path: str, origin: Origin) -> None:
        for name in names:
            storage.rm_xattr(who, path, name, origin)

    return remove_all


def _set_label(body: dict[str, Any]) -> Action:
    label = _text(body, "label")
    return lambda storage, who, path, origin: storage.set_label(who, path, label, origin)


def _rm_label(body: dict[str, Any]) -> Action:
    label = _text(body, "label")
    return lambda storage, who, path, origin: storage.rm_label(who, path, label, origin)


_ACTIONS: Final[dict[str, Callable[[dict[str, Any]], Action]]] = {
    "acl": _acl,
    "chgrp": _chgrp,
    "chmod": _chmod,
    "chown": _chown,
    "mkdir": _mkdir,
    "mv": _mv,
    "rm-label": _rm_label,
    "rm-xattr": _rm_xattr,
    "set-label": _set_label,
    "set-xattr": _set_xattr,
    "symlink": _symlink,
}
