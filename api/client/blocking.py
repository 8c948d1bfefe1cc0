"""The client for scripts, notebooks and the command line: every call returns when the answer is there."""

import copy
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from functools import wraps
from typing import Concatenate, ParamSpec, Self, TypeVar

import httpx2

from api.client import acting, ingest, reviewing, searching, server_jobs, stored_images, views
from api.client.calls import Call, Lines, Listing
from api.client.connection import connection_to
from api.client.following import EVENTS
from api.client.making import Making
from api.client.running_jobs import RunningJob
from api.client.streams import LineReader
from api.client.waiting import Attempts
from api.shapes.jobs import Job

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


def _streamed(
    describe: Callable[Concatenate[str, P], Iterable[Lines[T]]],
) -> "Callable[Concatenate[Client, P], Iterator[T]]":
    """Return the method that gives what comes line by line, of one request after the other."""

    @wraps(describe)
    def method(self: "Client", /, *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        return (item for lines in describe(self.collection, *args, **kwargs) for item in self._lines(lines))

    return method


def _started(describe: Callable[Concatenate[str, P], Call[Job]]) -> "Callable[Concatenate[Client, P], RunningJob]":
    """Return the method that gives the job which a function describes."""

    @wraps(describe)
    def method(self: "Client", /, *args: P.args, **kwargs: P.kwargs) -> RunningJob:
        return RunningJob(self, self._answer(describe(self.collection, *args, **kwargs)))

    return method


class Client:
    """One collection of a server. Close it, or use it in a `with`. Threads may share it.

    url: of the server, such as http://127.0.0.1:8080. key: by default LOOKALIKE_API_KEY, where that is set. timeout_s:
    how long an answer may keep the caller waiting for its next byte. retries: how often a request that does no harm
    twice is sent again when the server is busy (429, 503), after the time that it names. transport: how requests go,
    for tests and for proxies of one's own.

    Raises:
        UsageError: the address is none of a server, or the key cannot be sent.
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
    status = _blocking(views.status)
    create_collection = _blocking(views.create_collection)
    facets = _blocking(views.facets)
    timeline = _blocking(views.timeline)
    fields = _listed(views.fields)
    failures = _listed(views.failures)
    images = _listed(stored_images.images)
    image = _blocking(stored_images.image)
    image_by_key = _blocking(stored_images.image_by_key)
    labels = _listed(stored_images.labels)
    thumbnail = _blocking(stored_images.thumbnail)
    change_metadata = _blocking(stored_images.change_metadata)
    remove = _blocking(stored_images.remove)
    add = _blocking(ingest.add)
    add_all = _blocking(ingest.add_all)
    put = _blocking(ingest.put)
    start_import = _started(server_jobs.start_import)
    search = _blocking(searching.search)
    batch_search = _streamed(searching.batch_search)
    check = _blocking(searching.check)
    classify = _blocking(searching.classify)
    explain = _blocking(searching.explain)
    explanation = _blocking(searching.explanation)
    dedup = _started(server_jobs.dedup)
    reports = _listed(server_jobs.reports)
    groups = _listed(reviewing.groups)
    groups_page = _blocking(reviewing.groups_page)
    difference = _blocking(reviewing.difference)
    verdicts = _listed(reviewing.verdicts)
    say = _blocking(reviewing.say)
    say_all = _blocking(reviewing.say_all)
    forget = _blocking(reviewing.forget)
    plans = _listed(acting.plans)
    plan = _blocking(acting.plan)
    plan_groups = _listed(acting.plan_groups)
    plan_preview = _blocking(acting.plan_preview)
    apply = _started(acting.apply)
    undo = _started(acting.undo)
    purge = _started(acting.purge)
    jobs = _listed(server_jobs.jobs)
    job = _started(server_jobs.job)
    key = _blocking(views.key)
    health = _blocking(views.health)
    ready = _blocking(views.ready)
    metrics = _blocking(views.metrics)

    def map(self, *, progress: views.Made | None = None, timeout_s: float | None = 120.0) -> views.CollectionMap:
        """Return where the images lie on the map; one that is being made is waited for.

        progress: is called with the share of it that is made, 0 to 1. timeout_s: None waits however long it takes.

        Raises:
            WaitTimedOut: it takes longer.
            RemoteError: by name (api/client/errors.py).
        """
        making = Making(progress, timeout_s)
        while (found := making.made(self._answer(views.map_now(self.collection)))) is None:
            time.sleep(making.pause_s)
        return found

    def _answer(self, call: Call[T]) -> T:
        return call.answered(self._response(call))

    def _response(self, call: Call[T], *, stream: bool = False) -> httpx2.Response:
        """Return the answer to a request, whichever it is. stream: read nothing of it yet if it is a good one."""
        attempts = Attempts(self._to.patience, repeatable=call.repeatable)
        while True:
            try:
                request = self._http.build_request(**call.request(self._to.address))
                response = self._http.send(request, stream=stream)
                if stream and not response.is_success:
                    response.read()
            except httpx2.TransportError as error:
                wait_s = attempts.wait_without_answer(error)
                if wait_s is None:
                    raise self._to.unreachable(error) from error
            else:
                wait_s = attempts.wait_after(response)
                if wait_s is None:
                    return response
            time.sleep(wait_s)

    def _lines(self, lines: Lines[T]) -> Iterator[T]:
        """Give what comes line by line; an answer that breaks off is not begun again."""
        response = self._response(lines.call, stream=True)
        try:
            reader = LineReader(lines, response)
            for chunk in response.iter_bytes():
                yield from reader.hear(chunk)
            reader.end()
        except httpx2.TransportError as error:
            raise self._to.broken_off(error) from error
        finally:
            response.close()

    def _events(self, call: Call[None], silence_s: float) -> Generator[bytes, None, None]:
        """Give what comes of a stream of events until it ends or breaks; nothing where there is none."""
        timeout = httpx2.Timeout(silence_s)
        try:
            request = self._http.build_request(**call.request(self._to.address), timeout=timeout)
            response = self._http.send(request, stream=True)
            try:
                if response.is_success and response.headers.get("content-type", "").startswith(EVENTS):
                    yield from response.iter_bytes()
            finally:
                response.close()
        except httpx2.TransportError:
            return

    def _each(self, listing: Listing[T]) -> Iterator[T]:
        if listing.in_lines:
            yield from self._lines(listing.lines())
            return
        cursor = None
        while True:
            page = self._answer(listing.call(cursor))
            yield from page.items
            cursor = page.next_cursor
            if cursor is None:
                return
