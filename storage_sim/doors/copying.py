"""The work of a third-party copy: bytes from or to another server, and markers while they move."""

from __future__ import annotations

import errno
import http.client
import threading
import time
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Final, cast

from schemas import digests
from schemas.errors import StorageEventsError, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from storage_sim.doors.remote import Remote
    from storage_sim.transfers import Download, Upload

_CHUNK_BYTES: Final = 1 << 20


@dataclass
class Pull:
    """Bytes come from there.

    Attributes:
        remote: the source.
        upload: the file here.
        verify: whether a source without a checksum is a failure.
        moved_bytes: how far it is.
    """

    remote: Remote
    upload: Upload
    verify: bool
    moved_bytes: int = 0

    def run(self) -> None:
        """Move them, and compare checksums."""
        with self.upload:
            answer = self.remote.ask("GET", {"Want-Digest": digests.WANT_ALL})
            if answer.status != 200:
                raise Unavailable(_remote_failed(answer.status, answer.reason))
            while chunk := answer.read1(_CHUNK_BYTES):
                self.upload.write(chunk)
                self.moved_bytes += len(chunk)
            expected = answer.headers.get("Content-Length")
            if expected is not None and int(expected) != self.moved_bytes:
                raise Unavailable("the source ended too early")
            theirs = digests.decode(answer.headers.get("Digest", ""))
            if not theirs:
                answer = self.remote.ask("HEAD", {"Want-Digest": digests.WANT_ALL})
                theirs = digests.decode(answer.headers.get("Digest", ""))
            _compare(self.upload.checksums.text(), theirs, verify=self.verify)

    def abandon(self) -> None:
        """End it before it began."""
        self.upload.abort(errno.ECONNABORTED, "cancelled by the client")


@dataclass
class Push:
    """Bytes go there.

    Attributes:
        remote: the destination.
        download: the file here.
        verify: whether a destination without a checksum is a failure.
        moved_bytes: how far it is.
    """

    remote: Remote
    download: Download
    verify: bool
    moved_bytes: int = 0

    def run(self) -> None:
        """Move them, and compare checksums."""
        inode = self.download.inode
        self.download.expected_bytes = inode.size
        with self.download:
            answer = self.remote.put(cast("IO[bytes]", self.download), inode.size, self._sent)
            answer.read()
            if answer.status not in (200, 201, 204):
                raise Unavailable(_remote_failed(answer.status, answer.reason))
        answer = self.remote.ask("HEAD", {"Want-Digest": digests.WANT_ALL})
        answer.read()
        size = answer.headers.get("Content-Length")
        try:
            if answer.status != 200 or (size is not None and int(size) != inode.size):
                raise Unavailable("the destination does not have the whole file")
            theirs = digests.decode(answer.headers.get("Digest", ""))
            _compare(inode.checksums, theirs, verify=self.verify)
        except StorageEventsError:
            self.remote.ask("DELETE", {})
            raise

    def _sent(self, total: int) -> None:
        self.moved_bytes = total

    def abandon(self) -> None:
        """End it before it began."""
        self.download.expected_bytes = self.download.inode.size
        self.download.close()


def _remote_failed(status: int, reason: str) -> str:
    return f"Remote side failed with status code {status}; error message: {one_line(reason)}"


def _compare(ours: str, theirs: dict[str, str], *, verify: bool) -> None:
    agreed = digests.agree(digests.as_dict(ours.split()), theirs)
    if agreed is False:
        raise Unavailable("the checksums of source and destination differ")
    if agreed is None and verify:
        raise Unavailable("the other side has no checksum to compare with")


class Copy:
    """A transfer in a thread of its own, and the answer's body: markers, then how it ended.

    Args:
        remote: the other side.
        work: what is to be done.
        marker_interval_s: seconds between markers.
        release: called at the end, in any case.
    """

    def __init__(
        self,
        remote: Remote,
        work: Pull | Push,
        marker_interval_s: float,
        release: Callable[[], None],
    ) -> None:
        self._remote = remote
        self._work = work
        self._marker_interval_s = marker_interval_s
        self._release = release
        self._done = threading.Event()
        self._thread: threading.Thread | None = None
        self._began_s = time.time()
        self._last = ""

    def _run(self) -> None:
        try:
            self._work.run()
            self._last = "success: Created\n"
        except (StorageEventsError, OSError, ValueError, http.client.HTTPException) as error:
            self._last = f"failure: {one_line(str(error) or type(error).__name__)}\n"
        except BaseException:
            self._last = "failure: internal error\n"
            raise
        finally:
            self._done.set()

    def __iter__(self) -> Iterator[bytes]:
        self._thread = threading.Thread(target=self._run, name="third-party-copy", daemon=True)
        self._thread.start()
        yield self._marker().encode()
        while not self._done.wait(self._marker_interval_s):
            yield self._marker().encode()
        yield self._last.encode()

    def close(self) -> None:
        """End the transfer if it still runs: the client has gone, or has read all."""
        if not self._done.is_set():
            self._remote.close()
            if self._thread is None:
                self._work.abandon()
            else:
                self._thread.join()
        self._remote.close()
        self._release()

    def _marker(self) -> str:
        now = time.time()
        lines = [
            f"Timestamp: {int(now)}",
            "State: 1",
            "State description: transfer has started",
            "Stripe Index: 0",
            f"Stripe Start Time: {int(self._began_s)}",
            f"Stripe Last Transferred: {int(now)}",
            f"Stripe Transfer Time: {int(now - self._began_s)}",
            f"Stripe Bytes Transferred: {self._work.moved_bytes}",
            "Stripe Status: RUNNING",
            "Total Stripe Count: 1",
        ]
        if self._remote.peer:
            lines.append(f"RemoteConnections: {self._remote.peer}")
        return "Perf Marker\n" + "".join(f"    {line}\n" for line in lines) + "End\n"


def one_line(text: str) -> str:
    """Make a text fit into one line of an answer."""
    return "".join(c if c.isprintable() else " " for c in text)[:300]
