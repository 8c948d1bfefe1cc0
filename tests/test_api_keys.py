"""Keys of the HTTP API in the catalogue: shown once, known again by their sha256, ended at once."""

import sqlite3
import time
from contextlib import closing
from functools import partial

import pytest
from sqlalchemy import select, update

from search.database.at_once import WouldWait
from search.database.tables import api_key
from search.errors import UsageError
from search.records import Collection
from search.storing.api_keys import ALPHABET, BEGINNING, LETTERS, ApiKeys
from search.storing.store import Store


@pytest.fixture
def keys(local_store: Store) -> ApiKeys:
    return ApiKeys(local_store.database)


def test_a_key_is_found_by_its_letters_alone_until_it_is_revoked(store: Store) -> None:
    keys = ApiKeys(store.database)
    assert not keys.any()
    made, secret = keys.create("write", name="upload pipeline")
    assert keys.any()
    assert keys.find(secret) == made
    assert (made.role, made.name, made.collection, made.state(time.time())) == (
        "write",
        "upload pipeline",
        None,
        "valid",
    )
    for other in ("", "lk_", made.prefix, secret[:-1], secret + "a", secret.swapcase(), "\udcff", "ü"):
        assert keys.find(other) is None
    found = keys.revoke(made.prefix)
    assert (keys.find(secret), found.state(time.time()), keys.any()) == (found, "revoked", True)


def test_a_key_has_256_random_bits_and_a_name_for_scanners_of_leaked_secrets(keys: ApiKeys) -> None:
    assert len(ALPHABET) ** LETTERS >= 2**256 > len(ALPHABET) ** (LETTERS - 1)
    secrets = {keys.create("read")[1] for _ in range(3)}
    assert len({secret[len(BEGINNING) + 8 :] for secret in secrets}) == 3
    assert {(secret[:3], len(secret)) for secret in secrets} == {("lk_", 3 + LETTERS)}


def test_nobody_can_read_a_key_out_of_the_catalogue(keys: ApiKeys, local_store: Store) -> None:
    made, secret = keys.create("admin")
    with local_store.database.reading() as connection:
        (row,) = connection.execute(select(api_key)).all()
    stored = "".join(value.hex() if isinstance(value, bytes) else str(value) for value in row)
    assert secret not in stored
    assert secret.encode().hex() not in stored
    # What is left unknown beside the prefix.
    assert len(secret) - len(made.prefix) == LETTERS - 8


def test_a_key_ends_at_its_moment(keys: ApiKeys) -> None:
    made, secret = keys.create("read", expires_at=1000.0)
    assert [made.state(moment) for moment in (999.9, 1000.0, 1e9)] == ["valid", "expired", "expired"]
    found = keys.find(secret)
    assert found is not None
    assert (found.expires_at, found.as_json()["expires_at"]) == (1000.0, "1970-01-01T00:16:40+00:00")


@pytest.mark.parametrize("by", ["id", "prefix"])
def test_a_key_is_revoked_by_its_id_or_prefix_and_stays_so(keys: ApiKeys, by: str) -> None:
    other, _ = keys.create("read")
    made, secret = keys.create("read")
    gone = keys.revoke(str(getattr(made, by)))
    assert (gone.id, gone.state(0)) == (made.id, "revoked")
    assert keys.revoke(str(made.id)).revoked_at == gone.revoked_at
    assert keys.find(secret) == gone
    assert [one.state(0) for one in keys.all()] == ["valid", "revoked"]
    assert keys.any()
    assert keys.all()[0] == other


@pytest.mark.parametrize("named", ["7", "lk_", "", "read"])
def test_a_key_that_is_not_there_cannot_be_revoked(keys: ApiKeys, named: str) -> None:
    with pytest.raises(UsageError, match="there is no key .*; `lookalike keys list`"):
        keys.revoke(named)


def test_a_role_or_a_name_that_cannot_be_used_makes_no_key(keys: ApiKeys) -> None:
    with pytest.raises(UsageError, match="--role 'owner' is not one of read, write, dedup, admin"):
        keys.create("owner")
    with pytest.raises(UsageError, match="the name has 201 letters"):
        keys.create("read", name="x" * 201)
    assert not keys.any()


def test_a_key_for_a_collection_that_is_gone_is_no_key_for_all_of_them(store: Store, target: Collection) -> None:
    keys = ApiKeys(store.database)
    made, secret = keys.create("admin", only=target)
    assert (made.collection, keys.find(secret)) == ("default", made)
    with store.database.engine.connect() as connection:
        if connection.dialect.name == "sqlite":
            connection.connection.driver_connection.execute("PRAGMA foreign_keys=OFF")  # type: ignore[union-attr]
        else:
            connection.exec_driver_sql("SET session_replication_role = replica")
        connection.execute(update(api_key).values(collection_id=99))
        connection.commit()
    store.database.engine.dispose()
    assert keys.find(secret) is None


def test_at_once_is_known_what_nobody_has_to_be_waited_for(local_store: Store) -> None:
    keys, file = ApiKeys(local_store.database), local_store.database.engine.url.database
    assert not keys.any(at_once=True)
    made, secret = keys.create("write")
    assert (keys.any(at_once=True), keys.find(secret, at_once=True)) == (True, made)
    revoked = keys.revoke(made.prefix)
    assert keys.find(secret, at_once=True) == revoked, "seen at once, too"
    with pytest.raises(WouldWait):
        keys.find("lk_unknown", at_once=True)
    with closing(sqlite3.connect(str(file), isolation_level=None)) as committing:
        committing.execute("BEGIN EXCLUSIVE")
        for ask in (partial(keys.any, at_once=True), partial(keys.find, secret, at_once=True)):
            with pytest.raises(WouldWait):
                ask()
        committing.execute("ROLLBACK")
    assert keys.find(secret, at_once=True) == revoked


def test_at_once_a_server_elsewhere_is_not_asked(store: Store) -> None:
    keys = ApiKeys(store.database)
    if store.database.engine.dialect.name == "sqlite":
        assert not keys.any(at_once=True)
    else:
        with pytest.raises(WouldWait):
            keys.any(at_once=True)
