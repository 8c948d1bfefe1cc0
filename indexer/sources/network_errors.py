"""What a backend raised, in the words of the ledger and of errors.

Only what a server says is gone has vanished. The web's file system of fsspec raises FileNotFoundError for every request
that failed, also for one that nobody answered: the cause of the error tells which it was.
"""

from typing import Final

from search.errors import BadImage, LookalikeError, SourceUnavailable, UsageError

_GONE: Final = (404, 410)
_FORBIDDEN: Final = (401, 403, 407)


def explained(error: Exception) -> tuple[str, str]:
    """Return the ledger reason and detail of whatever a backend, or the operating system, raised."""
    if isinstance(error, BadImage):
        return error.reason, error.detail
    cause = _behind(error)
    status, said = _status_of(cause), " ".join(str(cause).split())[:300] or type(cause).__name__
    if status in _GONE or (status is None and isinstance(cause, FileNotFoundError)):
        return "vanished", f"there is nothing at this place any more ({said})"
    if status in _FORBIDDEN or isinstance(cause, PermissionError):
        return "permission_denied", said
    if isinstance(cause, TimeoutError):
        return "read_error", f"no answer in time ({said})"
    return "read_error", said


def refused(url: str, error: Exception) -> LookalikeError:
    """Return what to raise when a place that the user named cannot be opened, and what to do about it."""
    if isinstance(error, LookalikeError):
        return UsageError(f"{url}: {error}") if isinstance(error, BadImage) else error
    reason, said = explained(error)
    if reason == "vanished":
        return UsageError(f"{url}: there is no such bucket, folder or object")
    if reason == "permission_denied":
        return UsageError(f"{url}: may not be read ({said}); check your credentials")
    if "credential" in said.lower():
        return UsageError(f"{url}: {said}; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE")
    return SourceUnavailable(f"{url} does not answer: {said}; try again")


def _behind(error: Exception) -> BaseException:
    """Return what a FileNotFoundError hides, where that is another failure than of the place."""
    import aiohttp

    hidden = error.__cause__
    if isinstance(error, FileNotFoundError) and isinstance(hidden, aiohttp.ClientError | OSError | ValueError):
        return hidden
    return error


def _status_of(error: BaseException) -> int | None:
    """Return the status that a server of the web answered with, None when it was no such answer."""
    import aiohttp

    return error.status if isinstance(error, aiohttp.ClientResponseError) else None
