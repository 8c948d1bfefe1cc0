"""The ledger: files that could not become images, each with its reason, until they can."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, select, update

from search.database.database import chunks
from search.database.tables import ledger


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
