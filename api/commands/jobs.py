"""`jobs`: what a server does that outlasts a request, looked at, followed and ended; by its store, or through it."""

import time
from typing import TYPE_CHECKING, Annotated, Final

import typer

from api.console import Session, out, print_json, print_table, table
from search.errors import UsageError
from search.storing.store import Store

if TYPE_CHECKING:
    from api.shapes.jobs import Job

STATES: Final = ("queued", "running", "done", "failed", "cancelled")
ENDED: Final = ("done", "failed", "cancelled")
POLL_S: Final = 0.5
SHOWN: Final = 100

JobId = Annotated[int, typer.Argument(min=1, metavar="ID", help="Of a job.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    group = typer.Typer(no_args_is_help=True, help="Jobs of servers: list, follow, cancel.")
    group.command("list")(list_)
    group.command("follow")(follow)
    group.command("cancel")(cancel)
    app.add_typer(group, name="jobs")


def list_(
    context: typer.Context,
    state: Annotated[list[str] | None, typer.Option(help=f"Only in it: {', '.join(STATES)}; repeatable.")] = None,
) -> None:
    """Show the newest jobs; with --collection only those of it."""
    session: Session = context.obj
    for one in state or ():
        if one not in STATES:
            raise UsageError(f"--state {one!r} is not one of {', '.join(STATES)}")
    jobs = _listed(session, state or [])
    if session.json:
        print_json({"items": [job.model_dump(mode="json") for job in jobs]})
        return
    rows = table(">id", "kind", "collection", "state", "begun", "at")
    for job in jobs:
        rows.add_row(job.id, job.kind, job.collection or "", job.state, job.created_at[:19], _stage(job))
    if jobs:
        print_table(rows)
    else:
        out().print("no jobs")


def follow(context: typer.Context, job: JobId) -> None:
    """Wait for a job and show how far it is; Ctrl-C ends the wait, and not the job."""
    session: Session = context.obj
    _show(session, _waited_for(session, job))


def cancel(context: typer.Context, job: JobId) -> None:
    """Ask for the end of a job; what it did until then stays."""
    session: Session = context.obj
    if session.remote is not None:
        from api.remote.connecting import connected

        with connected(session) as client:
            _show(session, client.job(job).cancel())
        return
    from api.http.job_requests import shape_of
    from search.storing.server_jobs import ServerJobs

    with Store(session.store) as store:
        _show(session, shape_of(ServerJobs(store.database).cancel(job)))


def _listed(session: Session, states: list[str]) -> "list[Job]":
    from itertools import islice

    only = session.collection if session.named else None
    if session.remote is not None:
        from api.remote.connecting import connected

        with connected(session) as client:
            found = client.jobs(state=states or None, collection=only, page_size=SHOWN)  # type: ignore[arg-type]
            return list(islice(found, SHOWN))
    from api.http.job_requests import shape_of
    from search.storing.server_jobs import ServerJobs

    with Store(session.store) as store:
        page = ServerJobs(store.database).page(states=states, collection=only, limit=SHOWN)  # type: ignore[arg-type]
        return [shape_of(job) for job in page]


def _waited_for(session: Session, job_id: int) -> "Job":
    """Return a job when it is done.

    Raises:
        JobNotFound, RemoteError: there is none, it failed, or was cancelled.
        Interrupted: by Ctrl-C; the job goes on.
    """
    from api.remote.waiting import waited_for

    if session.remote is not None:
        from api.remote.connecting import connected

        with connected(session) as client:
            return waited_for(session, client.job(job_id))
    with Store(session.store) as store:
        return _followed(session, store, job_id)


def _followed(session: Session, store: Store, job_id: int) -> "Job":
    """Return a job of this store when it is done."""
    from api.client.following import Following
    from api.http.job_requests import shape_of
    from api.remote.waiting import left_alone, stages
    from search.storing.server_jobs import ServerJobs

    jobs = ServerJobs(store.database)
    with left_alone(session, job_id), stages(session.progress) as progress:
        following = Following(shape_of(jobs.get(job_id)), progress, None)
        while not following.ended:
            time.sleep(POLL_S)
            following.take(shape_of(jobs.get(job_id)))
        return following.result()


def _show(session: Session, job: "Job") -> None:
    if session.json:
        print_json(job.model_dump(mode="json"))
        return
    ending = job.state not in ENDED  # then it was asked for just now
    out().print(f"job {job.id}: {job.kind}, {job.state}" + (", its end was asked for" if ending else ""))
    for name, value in (job.result or {}).items():
        if isinstance(value, str | int | float):
            out().print(f"  {name.replace('_', ' ')}: {value}")


def _stage(job: "Job") -> str:
    now = job.progress
    if job.state == "failed" and job.problem is not None:
        return job.problem.detail.split("\n", maxsplit=1)[0]
    if now is None or job.state != "running":
        return ""
    return now.stage if now.total is None else f"{now.stage}: {now.done} of {now.total}"
