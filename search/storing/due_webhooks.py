"""Who is to be told that a job has ended, as columns of its row: it outlasts the server at which the job ended.

A server takes the telling of one job with a lease, as it takes jobs (server_jobs.py): so it is told by one at a time,
and whatever becomes of that server, told at least once.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from sqlalchemy import ColumnElement, and_, func, or_, select, update

from search.database.database import Database
from search.database.tables import server_job
from search.storing.server_jobs import Owner, ServerJob, ServerJobs, moment_of

LOOKED: Final = 1_000


@dataclass(frozen=True, slots=True)
class DueWebhook:
    """job_id: that has ended. address: that is to be told of it now."""

    job_id: int
    address: str


class DueWebhooks:
    """Reads and writes what `server_job` holds of webhooks."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._jobs = ServerJobs(database)

    def due(self, owner: Owner) -> list[DueWebhook]:
        """Return who is to be told now and by nobody else, the longest waiting first; the first 1,000.

        No other server on this machine may tell anybody meanwhile: what one of it left is taken at once.
        """
        with self._database.reading() as connection:
            free = _free(owner, moment_of(connection))
            query = select(server_job.c.id, server_job.c.webhook).where(free).order_by(server_job.c.webhook_due)
            return [DueWebhook(id_, address) for id_, address in connection.execute(query.limit(LOOKED))]

    def waiting(self) -> int:
        """Return how many have not been told yet of a job that has ended, and may still be."""
        query = select(func.count()).select_from(server_job).where(server_job.c.webhook_due.is_not(None))
        with self._database.reading() as connection:
            return int(connection.execute(query).scalar_one())

    def take(self, job_id: int, owner: Owner) -> ServerJob | None:
        """Take the telling of a job's end, which counts as an attempt; None where another server was faster.

        Raises:
            StoreUnavailable: the database is locked, full or read-only.
        """
        with self._database.writing() as connection:
            now = moment_of(connection)
            values = {
                "webhook_attempts": server_job.c.webhook_attempts + 1,
                "host": owner.host,
                "owner": owner.name,
                "lease_until": now + owner.lease_s,
            }
            mine = and_(server_job.c.id == job_id, _free(owner, now))
            taken = connection.execute(update(server_job).where(mine).values(values)).rowcount
        return self._jobs.get(job_id) if taken else None

    def settle(self, job_id: int, owner: Owner, outcome: Mapping[str, object], again_s: float | None) -> bool:
        """Write down what came of it; return False, with nothing written, where it is no longer the owner's.

        again_s: after so many seconds it is tried once more; None for never.

        Raises:
            StoreUnavailable: the database is locked, full or read-only; it is tried again when the lease ends.
        """
        with self._database.writing() as connection:
            due = None if again_s is None else moment_of(connection) + again_s
            values = {"webhook_due": due, "webhook_outcome": json.dumps(dict(outcome)), **_NOBODY}
            changed = {"version": server_job.c.version + 1}
            written = update(server_job).where(_of(job_id, owner)).values(**values, **changed)
            return bool(connection.execute(written).rowcount)

    def again(self, job_id: int) -> bool:
        """Let a job's end be told now, with as many attempts as the first time; return False where it has nobody to
        tell, has not ended, or is being told at this moment.

        Raises:
            StoreUnavailable: the database is locked, full or read-only.
        """
        tellable = (server_job.c.webhook.is_not(None), server_job.c.ended_at.is_not(None), server_job.c.owner.is_(None))
        with self._database.writing() as connection:
            values = {"webhook_due": moment_of(connection), "webhook_attempts": 0, "webhook_outcome": None}
            changed = {"version": server_job.c.version + 1}
            written = update(server_job).where(server_job.c.id == job_id, *tellable).values(**values, **changed)
            return bool(connection.execute(written).rowcount)

    def release(self, job_id: int, owner: Owner) -> None:
        """Give it back as it was: nobody knows whether it was told, and the next server tells it at once.

        Raises:
            StoreUnavailable: the database is locked, full or read-only; the lease ends by itself.
        """
        with self._database.writing() as connection:
            connection.execute(update(server_job).where(_of(job_id, owner)).values(**_NOBODY))


_NOBODY: Final = {"owner": None, "host": None, "lease_until": None}


def _free(owner: Owner, now: float) -> ColumnElement[bool]:
    left = and_(server_job.c.host == owner.host, server_job.c.owner != owner.name)
    free = or_(server_job.c.owner.is_(None), server_job.c.lease_until < now, left)
    return and_(server_job.c.webhook_due <= now, free)


def _of(job_id: int, owner: Owner) -> ColumnElement[bool]:
    return and_(server_job.c.id == job_id, server_job.c.webhook_due.is_not(None), server_job.c.owner == owner.name)
