"""Keys of the HTTP API: made here, shown once, and known again by their sha256.

A key is 43 random letters and digits (256 bits), so that one fast hash of it is enough: there is nothing to guess.
"""

import hashlib
import hmac
import math
import secrets
import string
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, get_args

from sqlalchemy import Select, bindparam, exists, insert, select, update

from search.database.at_once import WouldWait
from search.database.database import Database
from search.database.tables import api_key, collection
from search.errors import UsageError
from search.records import Collection

Role = Literal["read", "write", "dedup", "admin"]
# Each may do what the ones before it may.
ROLES: tuple[Role, ...] = get_args(Role)
State = Literal["valid", "expired", "revoked"]

BEGINNING = "lk_"
ALPHABET = string.ascii_letters + string.digits
LETTERS = math.ceil(256 / math.log2(len(ALPHABET)))
PREFIX_LETTERS = len(BEGINNING) + 8
MAX_NAME = 200

_COLUMNS = (
    api_key.c.id,
    api_key.c.name,
    api_key.c.prefix,
    api_key.c.sha256,
    api_key.c.role,
    api_key.c.collection_id,
    collection.c.name.label("collection"),
    api_key.c.created_at,
    api_key.c.expires_at,
    api_key.c.revoked_at,
)
_ALL = select(*_COLUMNS).outerjoin(collection, collection.c.id == api_key.c.collection_id)
_BY_SHA256 = _ALL.where(api_key.c.sha256 == bindparam("sha256"))
_ANY: Select[Any] = select(exists(select(api_key.c.id)))


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What is known of a key. collection: the only one it is for, None for all. Moments: seconds since 1970."""

    id: int
    name: str
    prefix: str
    role: Role
    collection: str | None
    created_at: float
    expires_at: float | None
    revoked_at: float | None

    def state(self, now: float) -> State:
        """Return whether the key opens anything at a moment, and why not."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= now else "valid"

    def as_json(self) -> dict[str, object]:
        """Return the item of `keys list`; ids are strings and moments ISO 8601, as over HTTP."""
        return {
            "id": str(self.id),
            "name": self.name,
            "prefix": self.prefix,
            "role": self.role,
            "collection": self.collection,
            "state": self.state(time.time()),
            "created_at": _iso(self.created_at),
            "expires_at": _iso(self.expires_at),
            "revoked_at": _iso(self.revoked_at),
        }


class ApiKeys:
    """Reads and writes the table `api_key`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(
        self, role: str, *, only: Collection | None = None, expires_at: float | None = None, name: str = ""
    ) -> tuple[ApiKey, str]:
        """Make a key; return what is known of it, and the key itself, which cannot be had again.

        only: the collection it is for, None for all. expires_at: seconds since 1970, None for never.

        Raises:
            UsageError: there is no such role, or the name is too long.
            StoreUnavailable: the database is locked, full or read-only.
        """
        known = _role(role)
        if len(name) > MAX_NAME:
            raise UsageError(f"the name has {len(name)} letters, choose at most {MAX_NAME}")
        secret = BEGINNING + "".join(secrets.choice(ALPHABET) for _ in range(LETTERS))
        values = {
            "name": name,
            "prefix": secret[:PREFIX_LETTERS],
            "sha256": digest_of(secret),
            "role": known,
            "collection_id": None if only is None else only.id,
            "created_at": time.time(),
            "expires_at": expires_at,
        }
        with self._database.writing() as connection:
            made = connection.execute(insert(api_key).values(values).returning(api_key.c.id)).scalar_one()
        return next(one for one in self.all() if one.id == made), secret

    def all(self) -> list[ApiKey]:
        """Return every key there ever was, by id."""
        with self._database.reading() as connection:
            rows = connection.execute(_ALL.order_by(api_key.c.id)).all()
        return [_key_of(tuple(row)) for row in rows]

    def any(self, *, at_once: bool = False) -> bool:
        """Tell whether there ever was a key. One indexed read. at_once: without waiting for who commits.

        Raises:
            StoreUnavailable: the database does not answer.
            WouldWait: at_once, and somebody commits.
        """
        row = self._database.glance_at_once(_ANY) if at_once else self._database.glance(_ANY)
        if row is None:
            with self._database.reading() as connection:
                row = tuple(connection.execute(_ANY).one())
        return bool(row[0])

    def find(self, secret: str, *, at_once: bool = False) -> ApiKey | None:
        """Return the key of these letters, valid or not; None where nobody made it. One indexed read.

        A key for a collection that is not there is none: it must not become one for all. at_once: without waiting.

        Raises:
            StoreUnavailable: the database does not answer.
            WouldWait: at_once, and there may be no such key, or somebody commits.
        """
        digest = digest_of(secret)
        look = self._database.glance_at_once if at_once else self._database.glance
        row: Sequence[Any] | None = look(_BY_SHA256, sha256=digest)
        if row is None and at_once:
            raise WouldWait
        if row is None:
            with self._database.reading() as connection:
                row = connection.execute(_BY_SHA256, {"sha256": digest}).first()
        if row is None or not hmac.compare_digest(bytes(row[3]), digest):
            return None
        return None if row[5] is not None and row[6] is None else _key_of(row)

    def revoke(self, named: str) -> ApiKey:
        """Make a key open nothing from now on, in every process; what was revoked stays so. named: its id or prefix.

        Raises:
            UsageError: there is no such key, or several begin like this.
            StoreUnavailable: the database is locked, full or read-only.
        """
        found = [one for one in self.all() if named in (str(one.id), one.prefix)]
        if len(found) != 1:
            many = "several keys begin with" if found else "there is no key"
            raise UsageError(f"{many} {named[:PREFIX_LETTERS]!r}; `lookalike keys list` shows the ids of all")
        (key,) = found
        still = (api_key.c.id == key.id) & api_key.c.revoked_at.is_(None)
        with self._database.writing() as connection:
            connection.execute(update(api_key).where(still).values(revoked_at=time.time()))
        return next(one for one in self.all() if one.id == key.id)


def digest_of(secret: str) -> bytes:
    """Return by what a key is known again: its sha256, 32 bytes."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()


def _role(text: str) -> Role:
    for known in ROLES:
        if text == known:
            return known
    raise UsageError(f"--role {text!r} is not one of {', '.join(ROLES)}")


def _key_of(row: Sequence[Any]) -> ApiKey:
    id_, name, prefix, _sha256, role, _collection_id, collection_name, created_at, expires_at, revoked_at = row
    return ApiKey(id_, name, prefix, role, collection_name, created_at, expires_at, revoked_at)


def _iso(moment: float | None) -> str | None:
    return None if moment is None else datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds")
