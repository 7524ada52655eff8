"""The three families of error; the family alone decides what happens.

`BadRecord`: the data is wrong. Set aside as a dead letter (pipeline) or answered 400 (API).
`Unavailable`: a service is away. Waited for with back-off (pipeline) or answered 503 (API).
`Refused`: the user may not. Answered 401, 403, 404 or 429 (API).
Anything else is a bug and ends the process loudly.
"""


class StorageEventsError(Exception):
    """Base of all errors this project raises on purpose."""


class BadRecord(StorageEventsError):  # noqa: N818 - named after what it is about
    """The data is wrong: it cannot be decoded, or says something impossible."""


class Unavailable(StorageEventsError):  # noqa: N818
    """A service this one depends on is away.

    Args:
        message: what is away, in a sentence.
        retry_after_s: when to try again, in seconds.
    """

    def __init__(self, message: str, *, retry_after_s: int = 5) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Refused(StorageEventsError):  # noqa: N818
    """The user may not do or see this."""


class SettingsError(StorageEventsError):
    """A setting is unknown or has a value that cannot be used; the message names it."""


def expected(group: ExceptionGroup) -> StorageEventsError:
    """Return what tasks that ended together have to say to the user.

    Raises:
        ExceptionGroup: there is a bug among them.
    """
    known, others = group.split(StorageEventsError)
    if known is None or others is not None:
        raise group
    first = known.exceptions[0]
    return expected(first) if isinstance(first, ExceptionGroup) else first
