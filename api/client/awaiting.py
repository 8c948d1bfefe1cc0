"""The client for programs that do several things at once: every call is awaited, every list an `async for`."""

import copy
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterable
from functools import partial, wraps
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import anyio
import httpx2
from anyio.to_thread import run_sync

from api.client import acting, ingest, reviewing, searching, server_jobs, stored_images, views
from api.client.calls import Call, Lines, Listing
from api.client.connection import connection_to
from api.client.following import EVENTS
from api.client.making import Making
from api.client.running_jobs import AsyncRunningJob
from api.client.streams import LineReader
from api.client.waiting import Attempts
from api.shapes.jobs import Job

P = ParamSpec("P")
T = TypeVar("T")


def _awaited(
    describe: Callable[Concatenate[str, P], Call[T]],
) -> "Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, T]]":
    """Return the method that does what a function describes."""

    @wraps(describe)
    async def method(self: "AsyncClient", /, *args: P.args, **kwargs: P.kwargs) -> T:
        # In a thread: describing a request may mean to read a file, or to compress an array.
        call = await run_sync(partial(describe, self.collection, *args, **kwargs))
        return await self._answer(call)

    return method


def _listed(
    describe: Callable[Concatenate[str, P], Listing[T]],
) -> "Callable[Concatenate[AsyncClient, P], AsyncIterator[T]]":
    """Return the method that asks for the pages of a list as they are needed."""

    @wraps(describe)
    def method(self: "AsyncClient", /, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[T]:
        return self._each(describe(self.collection, *args, **kwargs))

    return method


def _streamed(
    describe: Callable[Concatenate[str, P], Iterable[Lines[T]]],
) -> "Callable[Concatenate[AsyncClient, P], AsyncIterator[T]]":
    """Return the method that gives what comes line by line, of one request after the other."""

    @wraps(describe)
    async def method(self: "AsyncClient", /, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[T]:
        requests = iter(describe(self.collection, *args, **kwargs))
        while (lines := await run_sync(next, requests, None)) is not None:
            async for item in self._lines(lines):
                yield item

    return method


def _started(
    describe: Callable[Concatenate[str, P], Call[Job]],
) -> "Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, AsyncRunningJob]]":
    """Return the method that gives the job which a function describes."""

    @wraps(describe)
    async def method(self: "AsyncClient", /, *args: P.args, **kwargs: P.kwargs) -> AsyncRunningJob:
        return AsyncRunningJob(self, await self._answer(describe(self.collection, *args, **kwargs)))

    return method


class AsyncClient:
    """One collection of a server. Close it, or use it in an `async with`. The same arguments and methods as `Client`.

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
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self.collection = collection
        self._to = connection_to(url, key, timeout_s, retries)
        self._http = httpx2.AsyncClient(transport=transport, **self._to.options())

    def in_collection(self, name: str) -> Self:
        """Return a client of another collection over the same connections; closing one closes both."""
        other = copy.copy(self)
        other.collection = name
        return other

    async def close(self) -> None:
        """End the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    collections = _listed(stored_images.collections)
    status = _awaited(views.status)
    create_collection = _awaited(views.create_collection)
    facets = _awaited(views.facets)
    timeline = _awaited(views.timeline)
    fields = _listed(views.fields)
    failures = _listed(views.failures)
    images = _listed(stored_images.images)
    image = _awaited(stored_images.image)
    image_by_key = _awaited(stored_images.image_by_key)
    labels = _listed(stored_images.labels)
    thumbnail = _awaited(stored_images.thumbnail)
    change_metadata = _awaited(stored_images.change_metadata)
    remove = _awaited(stored_images.remove)
    add = _awaited(ingest.add)
    add_all = _awaited(ingest.add_all)
    put = _awaited(ingest.put)
    start_import = _started(server_jobs.start_import)
    search = _awaited(searching.search)
    batch_search = _streamed(searching.batch_search)
    check = _awaited(searching.check)
    classify = _awaited(searching.classify)
    explain = _awaited(searching.explain)
    explanation = _awaited(searching.explanation)
    dedup = _started(server_jobs.dedup)
    reports = _listed(server_jobs.reports)
    groups = _listed(reviewing.groups)
    groups_page = _awaited(reviewing.groups_page)
    difference = _awaited(reviewing.difference)
    verdicts = _listed(reviewing.verdicts)
    say = _awaited(reviewing.say)
    say_all = _awaited(reviewing.say_all)
    forget = _awaited(reviewing.forget)
    plans = _listed(acting.plans)
    plan = _awaited(acting.plan)
    plan_groups = _listed(acting.plan_groups)
    plan_preview = _awaited(acting.plan_preview)
    apply = _started(acting.apply)
    undo = _started(acting.undo)
    purge = _started(acting.purge)
    jobs = _listed(server_jobs.jobs)
    job = _started(server_jobs.job)
    key = _awaited(views.key)
    health = _awaited(views.health)
    ready = _awaited(views.ready)
    metrics = _awaited(views.metrics)

    async def map(self, *, progress: views.Made | None = None, timeout_s: float | None = 120.0) -> views.CollectionMap:
        """Return where the images lie on the map, as `Client.map`.

        Raises:
            WaitTimedOut: it takes longer.
            RemoteError: by name (api/client/errors.py).
        """
        making = Making(progress, timeout_s)
        while (found := making.made(await self._answer(views.map_now(self.collection)))) is None:
            await anyio.sleep(making.pause_s)
        return found

    async def _answer(self, call: Call[T]) -> T:
        return call.answered(await self._response(call))

    async def _response(self, call: Call[T], *, stream: bool = False) -> httpx2.Response:
        """Return the answer to a request, whichever it is. stream: read nothing of it yet if it is a good one."""
        attempts = Attempts(self._to.patience, repeatable=call.repeatable)
        while True:
            try:
                request = self._http.build_request(**call.request(self._to.address))
                response = await self._http.send(request, stream=stream)
                if stream and not response.is_success:
                    await response.aread()
            except httpx2.TransportError as error:
                wait_s = attempts.wait_without_answer(error)
                if wait_s is None:
                    raise self._to.unreachable(error) from error
            else:
                wait_s = attempts.wait_after(response)
                if wait_s is None:
                    return response
            await anyio.sleep(wait_s)

    async def _lines(self, lines: Lines[T]) -> AsyncIterator[T]:
        """Give what comes line by line; an answer that breaks off is not begun again."""
        response = await self._response(lines.call, stream=True)
        try:
            reader = LineReader(lines, response)
            async for chunk in response.aiter_bytes():
                for item in reader.hear(chunk):
                    yield item
            reader.end()
        except httpx2.TransportError as error:
            raise self._to.broken_off(error) from error
        finally:
            await response.aclose()

    async def _events(self, call: Call[None], silence_s: float) -> AsyncGenerator[bytes, None]:
        """Give what comes of a stream of events until it ends or breaks; nothing where there is none."""
        timeout = httpx2.Timeout(silence_s)
        try:
            request = self._http.build_request(**call.request(self._to.address), timeout=timeout)
            response = await self._http.send(request, stream=True)
            try:
                if response.is_success and response.headers.get("content-type", "").startswith(EVENTS):
                    async for chunk in response.aiter_bytes():
                        yield chunk
            finally:
                await response.aclose()
        except httpx2.TransportError:
            return

    async def _each(self, listing: Listing[T]) -> AsyncIterator[T]:
        if listing.in_lines:
            async for item in self._lines(listing.lines()):
                yield item
            return
        cursor = None
        while True:
            page = await self._answer(listing.call(cursor))
            for item in page.items:
                yield item
            cursor = page.next_cursor
            if cursor is None:
                return
