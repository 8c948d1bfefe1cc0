"""The client for scripts, notebooks and the command line: every call returns when the answer is there."""

import copy
import time
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Concatenate, ParamSpec, Self, TypeVar

import httpx2

from api.client import reviewing, searching, stored_images
from api.client.calls import Call, Listing
from api.client.connection import connection_to
from api.client.waiting import Attempts

P = ParamSpec("P")
T = TypeVar("T")


def _blocking(describe: Callable[Concatenate[str, P], Call[T]]) -> "Callable[Concatenate[Client, P], T]":
    """Return the method that does what a function describes."""

    @wraps(describe)
    def method(self: "Client", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._answer(describe(self.collection, *args, **kwargs))

    return method


def _listed(describe: Callable[Concatenate[str, P], Listing[T]]) -> "Callable[Concatenate[Client, P], Iterator[T]]":
    """Return the method that asks for the pages of a list as they are needed."""

    @wraps(describe)
    def method(self: "Client", /, *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        return self._each(describe(self.collection, *args, **kwargs))

    return method


class Client:
    """One collection of a server. Close it, or use it in a `with`. Threads may share it.

    url: of the server, such as http://127.0.0.1:8080. key: by default LOOKALIKE_API_KEY, where that is set. timeout_s:
    how long an answer may keep the caller waiting for its next byte. retries: how often a request that does no harm
    twice is sent again when the server is busy (429, 503), after the time that it names. transport: how requests go,
    for tests and for proxies of one's own.

    Raises:
        ValueError: the address is none of a server, or the key cannot be sent.
    """

    def __init__(  # noqa: PLR0913 -- a caller wants options, not an object of them
        self,
        url: str,
        *,
        key: str | None = None,
        collection: str = "default",
        timeout_s: float = 60.0,
        retries: int = 3,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        self.collection = collection
        self._to = connection_to(url, key, timeout_s, retries)
        self._http = httpx2.Client(transport=transport, **self._to.options())

    def in_collection(self, name: str) -> Self:
        """Return a client of another collection over the same connections; closing one closes both."""
        other = copy.copy(self)
        other.collection = name
        return other

    def close(self) -> None:
        """End the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    collections = _listed(stored_images.collections)
    status = _blocking(stored_images.status)
    images = _listed(stored_images.images)
    image = _blocking(stored_images.image)
    image_by_key = _blocking(stored_images.image_by_key)
    labels = _listed(stored_images.labels)
    thumbnail = _blocking(stored_images.thumbnail)
    change_metadata = _blocking(stored_images.change_metadata)
    remove = _blocking(stored_images.remove)
    search = _blocking(searching.search)
    check = _blocking(searching.check)
    explain = _blocking(searching.explain)
    explanation = _blocking(searching.explanation)
    groups = _listed(reviewing.groups)
    groups_page = _blocking(reviewing.groups_page)
    verdicts = _listed(reviewing.verdicts)
    say = _blocking(reviewing.say)
    say_all = _blocking(reviewing.say_all)
    forget = _blocking(reviewing.forget)

    def _answer(self, call: Call[T]) -> T:
        attempts = Attempts(self._to.patience, repeatable=call.repeatable)
        while True:
            try:
                response = self._http.send(self._http.build_request(**call.request(self._to.address)))
            except httpx2.TransportError as error:
                wait_s = attempts.wait_without_answer(error)
                if wait_s is None:
                    raise self._to.unreachable(error) from error
            else:
                wait_s = attempts.wait_after(response)
                if wait_s is None:
                    return call.answered(response)
            time.sleep(wait_s)

    def _each(self, listing: Listing[T]) -> Iterator[T]:
        cursor = None
        while True:
            page = self._answer(listing.call(cursor))
            yield from page.items
            cursor = page.next_cursor
            if cursor is None:
                return
