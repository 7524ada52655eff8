"""dCache's JSON about objects and users, made from ours. Pure."""

from __future__ import annotations

import mimetypes
from typing import TYPE_CHECKING, Any, Final

from pipeline.authz.paths import is_below
from storage_sim.checksums import as_dict

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.authz.principal import Principal
    from storage_sim.inodes import Inode
    from storage_sim.reading import Seen, Snapshot

_DCACHE_NAMES: Final = {"adler32": "ADLER32", "md5": "MD5_TYPE", "sha256": "SHA-256"}


def hex_id(inode_id: bytes) -> str:
    """Return an id as REST writes it: 36 hex digits in upper case."""
    return inode_id.hex().upper()


def flag(parameters: Mapping[str, str], name: str) -> bool:
    """Whether a query parameter is switched on (`true`, `True`, or present and empty)."""
    return parameters.get(name, "false").lower() in ("true", "1", "")


def attributes(seen: Seen, parameters: Mapping[str, str]) -> dict[str, Any]:
    """Return what a GET says about one object."""
    inode = seen.inode
    said: dict[str, Any] = {
        "fileType": inode.type,
        "pnfsId": hex_id(inode.id),
        "fileMimeType": _mime_type(inode),
        "nlink": 1,
        "mtime": inode.modified_us // 1000,
        "creationTime": inode.created_us // 1000,
        "size": 512 if inode.is_directory else inode.size,
    }
    if inode.is_link:
        said["size"] = len(inode.target.encode())
    if flag(parameters, "optional"):
        said |= {"owner": inode.uid, "group": inode.gid, "mode": inode.mode}
        if inode.acl:
            said["acl"] = inode.acl
    if inode.locality is not None:
        said |= _of_file(inode, parameters)
    if flag(parameters, "xattr"):
        said["extendedAttributes"] = seen.xattrs
    if flag(parameters, "labels"):
        said["labels"] = seen.labels
    return said


def _of_file(inode: Inode, parameters: Mapping[str, str]) -> dict[str, Any]:
    said: dict[str, Any] = {}
    if flag(parameters, "locality"):
        said["fileLocality"] = inode.locality
    if flag(parameters, "locations"):
        said["locations"] = ["disk"] if inode.content is not None else []
    if flag(parameters, "qos"):
        said["currentQos"] = "disk"
    if flag(parameters, "checksum"):
        said["checksums"] = [
            {"type": _DCACHE_NAMES[algorithm], "value": value}
            for algorithm, value in as_dict(inode.checksums).items()
        ]
    return said


def _mime_type(inode: Inode) -> str:
    if inode.is_directory:
        return "application/vnd.dcache.folder"
    if inode.is_link:
        return "application/vnd.dcache.link"
    return mimetypes.guess_type(inode.name)[0] or "application/octet-stream"


def snapshot(found: Snapshot, parameters: Mapping[str, str], *, depth: int | None) -> Any:
    """Return the answer to a GET of an object.

    Args:
        found: what the storage saw.
        parameters: the query.
        depth: the storage's shard depth, to tell what a watch begins with; None: do not tell it.
    """
    said = attributes(found.seen, parameters)
    if flag(parameters, "children") and found.seen.inode.is_directory:
        said["children"] = [
            attributes(entry, parameters) | {"fileName": entry.name} for entry in found.entries
        ]
    if depth is not None:
        place = found.place
        said["watch"] = {
            "shard": found.shard,
            "positions": found.positions,
            "path": place.path,
            "ancestors": [hex_id(above.id) for above in place.above],
            "permissions": " ".join(
                inode.permission for inode in (*place.above, found.seen.inode)
            ),
            "mayWatch": found.may_watch,
            "shardDepth": depth,
        }
    return said


def user(principal: Principal | None) -> dict[str, Any]:
    """Return the answer to a GET of /user; None is the anonymous user."""
    if principal is None:
        return {"status": "ANONYMOUS"}
    root = principal.restrictions.root
    home = principal.home
    said: dict[str, Any] = {
        "status": "AUTHENTICATED",
        "uid": principal.uid,
        "gids": list(principal.gids),
        "username": principal.user,
        "homeDirectory": (home[len(root.rstrip("/")) :] or "/") if is_below(home, root) else "/",
        "rootDirectory": root,
    }
    if principal.roles:
        said["roles"] = sorted(principal.roles)
    return said


def error(status: int, title: str, detail: str) -> dict[str, Any]:
    """Return an error's body, in the shapes of all of dCache's versions."""
    return {
        "status": str(status),
        "title": title,
        "detail": detail,
        "errors": [{"message": detail, "status": str(status)}],
    }
