"""The one interface to whatever runs functions: this machine, a batch farm, a cluster.

The executor knows jobs, tries and outcomes; a runner knows how one try is made. The family of the
error says what happens next:

* `FunctionFailed`: the function itself; tried again `Function.attempts` times in all.
* `Unavailable`: a storage or the back end is away, full or slow; tried again for some time.
* `Refused`: it can never work (the file is gone, a macaroon has expired); given up at once.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from schemas.errors import StorageEventsError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from pipeline.ingest.rules import Function
    from pipeline.ingest.triggers import Trigger


class FunctionFailed(StorageEventsError):  # noqa: N818 - named after what it is about
    """The function ended with an error or broke a limit; the message says which.

    Args:
        message: what happened, in words that tell nothing of the file's content.
        printed: the last of what the function printed.
    """

    def __init__(self, message: str, printed: str = "") -> None:
        super().__init__(message)
        self.printed = printed


@dataclass(frozen=True, slots=True)
class Job:
    """A trigger whose function is to be run.

    Attributes:
        trigger: what happened.
        urls: the named URLs. `read` and names that begin with `read-` are downloaded before, `log`
            gets what the function prints, all others are uploaded afterwards.
        function: what to run and its limits.
        is_last_try: whether a failure of the function would be the last.
    """

    trigger: Trigger
    urls: Mapping[str, str] = field(repr=False)
    function: Function
    is_last_try: bool = False

    @property
    def name(self) -> str:
        """See `job_name`."""
        return job_name(self.trigger.id)

    @property
    def inputs(self) -> dict[str, str]:
        """The URLs to download."""
        return {name: url for name, url in self.urls.items() if is_input(name)}

    @property
    def outputs(self) -> dict[str, str]:
        """The URLs to upload, without `log`."""
        return {
            name: url for name, url in self.urls.items() if not is_input(name) and name != "log"
        }


def job_name(trigger_id: str) -> str:
    """Return a name made of the id: the same for every try, fit for files and for Kubernetes."""
    return "ingest-" + hashlib.sha256(trigger_id.encode()).hexdigest()[:16]


def is_input(name: str) -> bool:
    """Whether a URL of that name is downloaded."""
    return name == "read" or name.startswith("read-")


class Runner(Protocol):
    """Makes one try of a job, as often as it is asked."""

    async def start(self, unfinished: Collection[str]) -> None:
        """Get ready; `unfinished` are the names of jobs that were begun before a restart.

        Raises:
            SettingsError: a function cannot be run here.
        """

    async def run(self, job: Job, begun: Callable[[], None]) -> None:
        """Do the whole job; return when its outputs are in the storage.

        Called again for the same job after an error or a crash, it goes on where it was, or does
        all of it anew with the same result.

        Args:
            job: what to do.
            begun: to be called when the function itself starts.

        Raises:
            FunctionFailed: the function's own fault.
            Unavailable: a storage or the back end is away.
            Refused: it cannot ever work.
        """

    async def forget(self, job: Job) -> None:
        """Remove what was kept for another try: the job has its outcome."""

    async def close(self) -> None:
        """End what runs, and give back what is held."""
