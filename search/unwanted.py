"""Work that nobody waits for any more: whoever starts it says how to find out, and its steps ask.

A server's client hangs up while its picture is being decoded: the embedding need not be made. Between two steps of a
search stands `stop_if_unwanted`, which does nothing unless somebody said otherwise for this thread.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_IS_WANTED: ContextVar[Callable[[], bool] | None] = ContextVar("is_wanted", default=None)


class Unwanted(Exception):  # noqa: N818 -- nothing went wrong
    """Nobody waits for the answer any more."""


@contextmanager
def while_wanted(is_wanted: Callable[[], bool]) -> Iterator[None]:
    """Let `stop_if_unwanted` of this thread stop as soon as `is_wanted` says no."""
    token = _IS_WANTED.set(is_wanted)
    try:
        yield
    finally:
        _IS_WANTED.reset(token)


def is_wanted() -> Callable[[], bool]:
    """Return what tells whether somebody still waits for what this thread does; other threads may ask it."""
    return _IS_WANTED.get() or (lambda: True)


def stop_if_unwanted() -> None:
    """Go on while somebody waits for the answer.

    Raises:
        Unwanted: nobody does.
    """
    asked = _IS_WANTED.get()
    if asked is not None and not asked():
        raise Unwanted
