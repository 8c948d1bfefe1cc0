"""Waiting for a job of a server: by events, by asking, through breaks, and how it can end."""

import asyncio
import json
from typing import Any

import pytest
from httpx2 import ConnectError, MockTransport, ReadError, Request, Response

from api.client import AsyncClient, JobCancelled, JobFailed, RunningJob, ServerUnreachable, WaitTimedOut
from api.client import following as module
from api.shapes.jobs import Job
from tests.scripted_server import ADDRESS, Chunks, Server

STREAM = {"content-type": "text/event-stream; charset=utf-8"}


def shape(state: str, done: int = 0, **more: object) -> dict[str, Any]:
    progress = {"stage": "looked\u2028at", "done": done, "total": 9, "left_s": None} if state == "running" else None
    times = dict.fromkeys(("started_at", "ended_at"))
    return {"id": "7", "kind": "dedup", "collection": "default", "state": state, "created_at": "now", **times} | {
        "progress": progress,
        "request": {},
        "result": {"groups": 3} if state == "done" else None,
        "problem": None,
        "webhook": None,
        **more,
    }


def event(number: int, job: dict[str, Any]) -> bytes:
    return f"event: job\nid: {number}\ndata: {json.dumps(job, ensure_ascii=False)}\n\n".encode()


class JobServer(Server):
    """Answers with what it was given for streams and for the job itself, and remembers what it was asked."""

    def __init__(self, streams: list[Response | Exception], polls: list[Response | Exception]) -> None:
        super().__init__(*polls)
        self.streams = Server(*streams)

    def __call__(self, request: Request) -> Response:
        if not request.url.path.endswith("/events"):
            return super().__call__(request)
        self.asked.append(request)
        return self.streams(request)

    def job(self) -> RunningJob:
        return RunningJob(self.client(retries=0), Job.model_validate(shape("queued")))


@pytest.fixture(autouse=True)
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr("api.client.running_jobs.time.sleep", waits.append)
    monkeypatch.setattr("api.client.running_jobs.anyio.sleep", sleep)
    return waits


def poll(job: dict[str, Any]) -> Response:
    return Response(200, json=job)


def stream(*pieces: bytes, error: Exception | None = None) -> Response:
    return Response(200, headers=STREAM, stream=Chunks(*pieces, error=error))


def test_events_tell_how_far_it_is_wherever_they_are_cut(slept: list[float]) -> None:
    whole = (
        event(1, shape("running", 1)) + b": still there\n\n" + event(2, shape("running", 5)) + event(3, shape("done"))
    )
    for cut in (1, 7, len(whole)):
        told: list[tuple[str, int | None]] = []
        pieces = [whole[start : start + cut] for start in range(0, len(whole), cut)]
        running = JobServer([stream(*pieces)], []).job()
        done = running.wait(lambda job, told=told: told.append((job.state, job.progress and job.progress.done)))  # type: ignore[misc]
        assert told == [("running", 1), ("running", 5), ("done", None)]
        assert (done.result, running.result, running.state, slept) == ({"groups": 3}, {"groups": 3}, "done", [])


NO_EVENTS = [Response(429), Response(404), Response(200, text="<html>"), ReadError("gone")]


@pytest.mark.parametrize("none", NO_EVENTS, ids=["429", "404", "html", "broken"])
def test_where_no_events_come_through_the_job_is_asked_for_now_and_then(
    none: Response | Exception, slept: list[float]
) -> None:
    polls: list[Response | Exception] = [poll(shape("running", 1)) for _ in range(6)]
    server = JobServer([none] * 9, [*polls, poll(shape("done"))])
    assert server.job().wait().result == {"groups": 3}
    streams = [request for request in server.asked if request.url.path.endswith("/events")]
    assert (len(streams), slept) == (3, [0.5, 0.5, 1.0, 2.0, 4.0, 5.0, 5.0])


def test_a_stream_that_breaks_is_taken_up_where_it_was(slept: list[float]) -> None:
    first = stream(event(4, shape("running", 2)), b"event: job\nid: 5\nda", error=ReadError("gone"))
    server = JobServer([first, stream(event(6, shape("done")))], [poll(shape("running", 3))])
    assert server.job().wait().state == "done"
    assert [request.headers.get("last-event-id") for request in server.asked] == [None, None, "5"]


def test_a_server_that_starts_again_is_waited_for_but_not_for_ever(
    slept: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    away: list[Response | Exception] = [ConnectError("refused") for _ in range(9)]
    assert (
        JobServer([*away], [ConnectError("refused"), Response(503), poll(shape("done"))]).job().wait().state == "done"
    )
    monkeypatch.setattr(module, "LOST_S", -1.0)
    with pytest.raises(ServerUnreachable):
        JobServer([*away], [*away]).job().wait()


def test_a_job_that_failed_raises_its_problem() -> None:
    problem = {"type": "urn:lookalike:problem:GuardRefused", "title": "Conflict", "status": 409, "detail": "too many"}
    with pytest.raises(JobFailed, match="too many") as failed:
        JobServer([stream(event(1, shape("failed", problem=problem)))], []).job().wait()
    assert (failed.value.kind, failed.value.status, failed.value.job.id) == ("GuardRefused", 409, "7")


def test_a_job_that_somebody_ended_says_so() -> None:
    with pytest.raises(JobCancelled, match="job 7 was cancelled"):
        JobServer([stream(event(1, shape("cancelled")))], []).job().wait()


def test_waiting_ends_when_its_time_is_up_and_the_job_goes_on() -> None:
    server = JobServer([stream(event(1, shape("running", 1)))], [poll(shape("running", 2))])
    with pytest.raises(WaitTimedOut, match="job 7 is still .*; it goes on"):
        server.job().wait(timeout_s=0)


def test_the_async_client_waits_alike(slept: list[float]) -> None:
    streams: list[Response | Exception] = [Response(429), stream(event(3, shape("done")))]
    server = JobServer(streams, [poll(shape("queued")), poll(shape("running", 4))])

    async def wait() -> tuple[dict[str, object] | None, str]:
        async with AsyncClient(ADDRESS, transport=MockTransport(server)) as client:
            running = await client.job(7)
            return (await running.wait()).result, repr(running)

    assert asyncio.run(wait()) == ({"groups": 3}, "<job 7: dedup, done>")
    assert slept == [0.5]
