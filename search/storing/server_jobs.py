"""Jobs of servers, as rows: they outlast the server that began them. Telling of their ends: due_webhooks.py beside it.

A server takes a job with a lease and renews it while the job runs. A job whose server died is taken over by another one
when the lease ends; the same machine, which knows at once that nobody runs it there, need not wait. Whatever is written
of a running job names its owner, so that a server which was only slow writes nothing over what its successor does.
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, and_, bindparam, case, delete, func, insert, or_, select, text, update

from search.database.database import Database
from search.database.tables import server_job
from search.errors import JobNotFound
from search.records import JobKind, JobState

ENDED: Final[tuple[JobState, ...]] = ("done", "failed", "cancelled")
KEPT_S: Final = 30 * 86_400.0  # how long ended jobs are remembered
MOST_ATTEMPTS: Final = 3  # a job that took so many servers with it is not begun again

_OPEN = (
    server_job.c.id,
    server_job.c.kind,
    server_job.c.collection,
    server_job.c.state,
    server_job.c.created_at,
    server_job.c.started_at,
    server_job.c.ended_at,
    server_job.c.version,
    server_job.c.request,
    server_job.c.progress,
    server_job.c.result,
    server_job.c.problem,
    server_job.c.webhook,
    server_job.c.webhook_due,
    server_job.c.webhook_attempts,
    server_job.c.webhook_outcome,
    server_job.c.cancelled,
    server_job.c.attempts,
)
_VERSION = select(server_job.c.version).where(server_job.c.id == bindparam("id"))
_ASKED = select(server_job.c.cancelled, server_job.c.owner).where(server_job.c.id == bindparam("id"))
Facts = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ServerJob:
    """A job as it was when it was read. Moments: seconds since 1970. version: grows with every change.

    cancelled: somebody asked for its end. attempts: how often a server began it. webhook: who is told of its end;
    webhook_due: when next, None before the end and for never again; webhook_attempts: how often that was tried;
    webhook_outcome: what came of it last (search/storing/due_webhooks.py).
    """

    id: int
    kind: JobKind
    collection: str | None
    state: JobState
    created_at: float
    started_at: float | None
    ended_at: float | None
    version: int
    request: Facts
    progress: Facts | None
    result: Facts | None
    problem: Facts | None
    webhook: str | None
    webhook_due: float | None
    webhook_attempts: int
    webhook_outcome: Facts | None
    cancelled: bool
    attempts: int

    @property
    def ended(self) -> bool:
        """Tell whether nothing more will happen to it."""
        return self.state in ENDED


@dataclass(frozen=True, slots=True)
class Owner:
    """A server that runs jobs. host: its machine; name: of this one server, never used again. lease_s: how long a job
    stays its own without a word of it.
    """

    host: str
    name: str
    lease_s: float


class ServerJobs:
    """Reads and writes the table `server_job`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, kind: JobKind, collection: str | None, request: Facts, webhook: str | None = None) -> ServerJob:
        """Write down a job that waits for a server; it is durable when this returns.

        Raises:
            StoreUnavailable: the database is locked, full or read-only.
        """
        values: dict[str, object] = {"kind": kind, "collection": collection, "state": "queued", "version": 1}
        values |= {"request": json.dumps(dict(request)), "webhook": webhook}
        with self._database.writing() as connection:
            values["created_at"] = moment_of(connection)
            made = connection.execute(insert(server_job).values(values).returning(server_job.c.id)).scalar_one()
        return self.get(made)

    def get(self, job_id: int) -> ServerJob:
        """Return a job.

        Raises:
            JobNotFound: there is none, or it ended long ago.
        """
        with self._database.reading() as connection:
            row = connection.execute(select(*_OPEN).where(server_job.c.id == job_id)).first()
        if row is None:
            raise JobNotFound(
                f"there is no job {job_id}; jobs are forgotten {KEPT_S / 86_400:.0f} days after their end"
            )
        return _job(tuple(row))

    def page(
        self, *, states: Sequence[JobState] = (), collection: str | None = None, before: int | None = None, limit: int
    ) -> list[ServerJob]:
        """Return jobs, newest first. before: only ones with a lower id. states: none for all."""
        query = select(*_OPEN).order_by(server_job.c.id.desc()).limit(limit)
        query = query.where(server_job.c.state.in_(states)) if states else query
        query = query if collection is None else query.where(server_job.c.collection == collection)
        query = query if before is None else query.where(server_job.c.id < before)
        with self._database.reading() as connection:
            return [_job(tuple(row)) for row in connection.execute(query)]

    def waiting(self) -> int:
        """Return how many jobs have not ended."""
        query = select(func.count()).select_from(server_job).where(server_job.c.state.in_(("queued", "running")))
        with self._database.reading() as connection:
            return int(connection.execute(query).scalar_one())

    def version(self, job_id: int) -> int | None:
        """Return the version of a job, None where there is none or the database does not answer; cheap."""
        row = self._database.glance(_VERSION, id=job_id)
        return None if row is None else int(row[0])

    def take(self, kinds: Sequence[JobKind], owner: Owner) -> ServerJob | None:
        """Take the oldest job of these kinds that waits, or whose server died; None where there is none.

        No other server on this machine may run jobs of these kinds meanwhile: what one of it left is taken at once.

        Raises:
            StoreUnavailable: the database is locked, full or read-only.
        """
        with self._database.reading() as connection:
            free = self._free(kinds, owner, moment_of(connection))
            found = connection.execute(select(server_job.c.id).where(free).order_by(server_job.c.id).limit(1)).scalar()
        if found is None:
            return None
        with self._database.writing() as connection:
            now = moment_of(connection)
            values = {
                "state": "running",
                "started_at": func.coalesce(server_job.c.started_at, now),
                "attempts": server_job.c.attempts + 1,
                "host": owner.host,
                "owner": owner.name,
                "lease_until": now + owner.lease_s,
                "version": server_job.c.version + 1,
            }
            mine = and_(server_job.c.id == found, self._free(kinds, owner, now))
            taken = connection.execute(update(server_job).where(mine).values(values)).rowcount
        return self.get(found) if taken else None

    def _free(self, kinds: Sequence[JobKind], owner: Owner, now: float) -> ColumnElement[bool]:
        orphaned = or_(
            server_job.c.lease_until < now,
            and_(server_job.c.host == owner.host, server_job.c.owner != owner.name),
        )
        free = or_(server_job.c.state == "queued", and_(server_job.c.state == "running", orphaned))
        return and_(server_job.c.kind.in_(kinds), free)

    def beat(self, job_id: int, owner: Owner, progress: Facts | None) -> bool:
        """Say that a job still runs, and how far it is; return whether it is still the owner's.

        Raises:
            StoreUnavailable: the database is locked, full or read-only.
        """
        with self._database.writing() as connection:
            values: dict[str, object] = {"lease_until": moment_of(connection) + owner.lease_s}
            if progress is not None:
                values |= {"progress": json.dumps(dict(progress)), "version": server_job.c.version + 1}
            return bool(connection.execute(update(server_job).where(_of(job_id, owner)).values(values)).rowcount)

    def asked_to_end(self, job_id: int, owner: Owner) -> bool:
        """Tell whether somebody asked for a job's end, or another server has it; cheap."""
        row = self._database.glance(_ASKED, id=job_id)
        return row is not None and (bool(row[0]) or row[1] != owner.name)

    def finish(
        self, job_id: int, owner: Owner, state: JobState, *, result: Facts | None = None, problem: Facts | None = None
    ) -> bool:
        """Write down how a job ended; return False, with nothing written, where it is no longer the owner's.

        Raises:
            StoreUnavailable: the database is locked, full or read-only.
        """
        with self._database.writing() as connection:
            ended = _ending(state, moment_of(connection)) | {"result": _text(result), "problem": _text(problem)}
            if state == "done":  # the last word of a stage may never have come; of others it says how far they got
                ended["progress"] = None
            return bool(connection.execute(update(server_job).where(_of(job_id, owner)).values(ended)).rowcount)

    def release(self, job_id: int, owner: Owner) -> None:
        """Give a job back, so that whichever server comes next goes on with it.

        Raises:
            StoreUnavailable: the database is locked, full or read-only; the lease ends by itself.
        """
        values = {"state": "queued", "owner": None, "host": None, "lease_until": None, "progress": None}
        again = {"attempts": server_job.c.attempts - 1, "version": server_job.c.version + 1}
        with self._database.writing() as connection:
            connection.execute(update(server_job).where(_of(job_id, owner)).values(**values, **again))

    def cancel(self, job_id: int) -> ServerJob:
        """Ask for the end of a job; one that waits has ended with this, an ended one stays as it is.

        Raises:
            JobNotFound: there is none.
            StoreUnavailable: the database is locked, full or read-only.
        """
        this = server_job.c.id == job_id
        with self._database.writing() as connection:
            waiting = update(server_job).where(this, server_job.c.state == "queued")
            connection.execute(waiting.values(_ending("cancelled", moment_of(connection)) | {"cancelled": True}))
            running = update(server_job).where(this, server_job.c.state == "running", ~server_job.c.cancelled)
            connection.execute(running.values(cancelled=True, version=server_job.c.version + 1))
        return self.get(job_id)

    def forget_old(self, kept_s: float = KEPT_S) -> int:
        """Remove the jobs that ended so long ago, and have nobody left to tell or did not for so long; return how many.

        Raises:
            StoreUnavailable: the database is locked, full or read-only.
        """
        with self._database.reading() as connection:
            past = moment_of(connection) - kept_s
            told = or_(server_job.c.webhook_due.is_(None), server_job.c.webhook_due < past)  # nobody calls any more
            old = and_(server_job.c.ended_at < past, told)
            ids = list(connection.execute(select(server_job.c.id).where(old).limit(500)).scalars())
        if ids:
            with self._database.writing() as connection:
                connection.execute(delete(server_job).where(server_job.c.id.in_(ids)))
        return len(ids)


def _of(job_id: int, owner: Owner) -> ColumnElement[bool]:
    return and_(server_job.c.id == job_id, server_job.c.state == "running", server_job.c.owner == owner.name)


def _ending(state: JobState, now: float) -> dict[str, Any]:
    told = func.coalesce(server_job.c.webhook_due, _due(now))
    values = {"state": state, "ended_at": now, "owner": None, "host": None, "lease_until": None, "webhook_due": told}
    return values | {"version": server_job.c.version + 1}


def _due(now: float) -> ColumnElement[Any]:
    """Return when the webhook of a job that ends is due: now, where it has one."""
    return case((server_job.c.webhook.is_not(None), now), else_=None)


def moment_of(connection: Connection) -> float:
    """Return the time of the database's machine: those of several servers may differ."""
    if connection.dialect.name == "postgresql":
        return float(connection.execute(text("SELECT extract(epoch FROM clock_timestamp())")).scalar_one())
    return time.time()


def _text(facts: Facts | None) -> str | None:
    return None if facts is None else json.dumps(dict(facts))


def _job(row: Sequence[Any]) -> ServerJob:
    (*plain, request, progress, result, problem, webhook, due, told, outcome, cancelled, begun) = row
    facts = (json.loads(one or "null") for one in (request, progress, result, problem))
    values = [*plain, *facts, webhook, due, told, json.loads(outcome or "null"), bool(cancelled), begun]
    return ServerJob(*values)
