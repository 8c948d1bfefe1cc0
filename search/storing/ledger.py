"""The ledger: files that could not become images, each with its reason, until they can."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, delete, func, insert, select, update

from search.database.database import Database, chunks
from search.database.tables import ledger
from search.records import LedgerEntry


@dataclass(frozen=True, slots=True)
class FailedFile:
    """A file for the ledger."""

    uri: str
    reason: str
    detail: str
    size_bytes: int
    mtime_ns: int


def forget_failures(connection: Connection, collection_id: int, uris: Sequence[str]) -> None:
    """Take files out of the ledger, if they are in it."""
    for part in chunks(uris):
        connection.execute(delete(ledger).where(ledger.c.collection_id == collection_id, ledger.c.uri.in_(part)))


def put_failures(
    connection: Connection, collection_id: int, succeeded: Sequence[str], failures: Sequence[FailedFile]
) -> None:
    """Write the failures of a batch, counting attempts on an unchanged file, and clear the uris that succeeded."""
    if connection.execute(select(ledger.c.id).where(ledger.c.collection_id == collection_id).limit(1)).first():
        forget_failures(connection, collection_id, succeeded)
    for failed in failures:
        where = (ledger.c.collection_id == collection_id) & (ledger.c.uri == failed.uri)
        old = connection.execute(select(ledger).where(where)).first()
        same = old is not None and (old.size_bytes, old.mtime_ns) == (failed.size_bytes, failed.mtime_ns)
        values = {
            "reason": failed.reason,
            "detail": failed.detail,
            "size_bytes": failed.size_bytes,
            "mtime_ns": failed.mtime_ns,
            "attempts": old.attempts + 1 if old is not None and same else 1,
        }
        if old is None:
            connection.execute(insert(ledger).values(collection_id=collection_id, uri=failed.uri, **values))
        else:
            connection.execute(update(ledger).where(where).values(**values))


def failures_page(
    database: Database, collection_id: int, *, after: int = 0, limit: int = 100, reason: str | None = None
) -> list[tuple[int, LedgerEntry]]:
    """Return a page of the ledger with the number of each entry, those with a number above `after`, ascending.

    reason: only entries with it.
    """
    query = select(ledger).where(ledger.c.collection_id == collection_id, ledger.c.id > after)
    if reason is not None:
        query = query.where(ledger.c.reason == reason)
    with database.reading() as connection:
        rows = connection.execute(query.order_by(ledger.c.id).limit(limit)).all()
    return [
        (row.id, LedgerEntry(row.uri, row.reason, row.detail, row.attempts, row.size_bytes, row.mtime_ns))
        for row in rows
    ]


def failures_by_reason(database: Database, collection_id: int) -> dict[str, int]:
    """Return how many files of a collection failed for each reason, most frequent first."""
    count = func.count().label("files")
    query = select(ledger.c.reason, count).where(ledger.c.collection_id == collection_id).group_by(ledger.c.reason)
    with database.reading() as connection:
        rows = connection.execute(query.order_by(count.desc(), ledger.c.reason))
        return {row.reason: int(row.files) for row in rows}
