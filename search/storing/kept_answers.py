"""Answers to requests that name themselves, so that one sent again does nothing twice and hears the same."""

import math
import time
from dataclasses import dataclass
from typing import Final

from sqlalchemy import delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from search.database.database import Database
from search.database.tables import kept_answer
from search.errors import KeyReused, StillAtWork
from search.records import Collection

KEPT_S: Final = 7 * 86_400.0
# What takes longer was begun by a server that died.
AT_WORK_S: Final = 120.0
LONGEST_WAIT_S: Final = 30


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """An answer that was given. body: JSON as text, after headers, if any."""

    status: int
    body: str


class KeptAnswers:
    """Reads and writes the table `kept_answer`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self, target: Collection, name: str, digest: bytes) -> KeptAnswer | None:
        """Return the answer to a request that came before; None where the caller is to do it now, and say so.

        digest: sha256 of what is asked.

        Raises:
            KeyReused: something else was asked by this name.
            StillAtWork: the first request of this name has no answer yet.
        """
        row, now = kept_answer.c, time.time()
        mine = (row.collection_id == target.id) & (row.name == name)
        with self._database.writing() as connection:
            connection.execute(delete(kept_answer).where(row.made_at < now - KEPT_S))
            abandoned = mine & row.status.is_(None) & (row.made_at < now - AT_WORK_S)
            connection.execute(delete(kept_answer).where(abandoned))
            found = connection.execute(select(row.digest, row.status, row.body, row.made_at).where(mine)).first()
            if found is None:
                values = {"collection_id": target.id, "name": name, "digest": digest, "made_at": now}
                try:
                    connection.execute(insert(kept_answer).values(values))
                except IntegrityError as error:  # on PostgreSQL two may look at once
                    raise StillAtWork(_AT_WORK, 1) from error
                return None
        if bytes(found.digest) != digest:
            raise KeyReused(f"the Idempotency-Key {name!r} was sent with another request; choose another one")
        if found.status is None:
            # As long again as it has taken: few ask too often, and nobody much too late.
            raise StillAtWork(_AT_WORK, min(LONGEST_WAIT_S, max(1, math.ceil(now - found.made_at))))
        return KeptAnswer(found.status, found.body)

    def answered(self, target: Collection, name: str, answer: KeptAnswer) -> None:
        """Keep the answer to a request that was begun.

        Raises:
            StoreUnavailable: the database is locked, full or read-only.
        """
        row = kept_answer.c
        mine = (row.collection_id == target.id) & (row.name == name)
        values = {"status": answer.status, "body": answer.body}
        with self._database.writing() as connection:
            connection.execute(update(kept_answer).where(mine).values(values))

    def failed(self, target: Collection, name: str) -> None:
        """Forget a request that failed, so that it can be sent again.

        Raises:
            StoreUnavailable: the database is locked, full or read-only; it can be sent again a while later.
        """
        row = kept_answer.c
        mine = (row.collection_id == target.id) & (row.name == name) & row.status.is_(None)
        with self._database.writing() as connection:
            connection.execute(delete(kept_answer).where(mine))


_AT_WORK: Final = "the first request with this Idempotency-Key is still at work; send it again in a moment"
