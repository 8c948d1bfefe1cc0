"""Many rows at once, on both databases: what the drivers do must look like what SQLAlchemy does."""

import pytest
from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError

from search.database.bulk import among, insert_missing_rows, insert_rows
from search.database.database import CHUNK
from search.database.tables import image, label, ledger
from search.storing.image_rows import KNOWN_KEYS
from search.storing.store import Store
from tests.fakes import FakeBackbone

COLUMNS = ("name",)


def names(store: Store) -> list[str]:
    with store.database.reading() as connection:
        return list(connection.execute(select(label.c.name).order_by(label.c.id)).scalars())


def test_rows_that_are_there_are_left_out_and_the_others_come_in_order(store: Store) -> None:
    with store.database.writing() as connection:
        connection.execute(insert(label).values(name="b"))
    with store.database.writing() as connection:
        insert_missing_rows(connection, label, COLUMNS, [("c",), ("b",), ("a",), ("c",)])
        insert_missing_rows(connection, label, COLUMNS, [("d",), ("a",)])
        insert_missing_rows(connection, label, COLUMNS, [])
    assert names(store) == ["b", "c", "a", "d"]


def test_nothing_stays_behind_for_the_next_transaction(store: Store) -> None:
    with pytest.raises(RuntimeError), store.database.writing() as connection:
        insert_missing_rows(connection, label, COLUMNS, [("lost",)])
        raise RuntimeError
    with store.database.writing() as connection:
        insert_missing_rows(connection, label, COLUMNS, [("kept",)])
    assert names(store) == ["kept"]


def test_a_violated_key_is_the_error_that_sqlalchemy_raises(store: Store) -> None:
    with pytest.raises(IntegrityError), store.database.writing() as connection:
        insert_rows(connection, label, COLUMNS, [("a",), ("a",)])
    assert names(store) == []
    with store.database.writing() as connection:
        insert_rows(connection, label, COLUMNS, [("a",)])
    assert names(store) == ["a"]


def test_every_kind_of_value_arrives_as_it_was(store: Store) -> None:
    collection_id = store.open_collection("default", FakeBackbone().space).id
    columns = ("collection_id", "uri", "reason", "detail", "attempts", "size_bytes", "mtime_ns")
    row = (collection_id, "s3://b/ä\t\\N\n.jpg", 'say "hi"', "", 2**31 - 1, 2**52, -1)
    with store.database.writing() as connection:
        insert_rows(connection, ledger, columns, [row])
    with store.database.reading() as connection:
        assert tuple(connection.execute(select(*(ledger.c[name] for name in columns))).one()) == row


@pytest.mark.parametrize("count", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 7])
def test_many_values_are_found_each_once(store: Store, count: int) -> None:
    wanted = [f"label {number}" for number in range(count)]
    with store.database.writing() as connection:
        insert_rows(connection, label, COLUMNS, [(name,) for name in [*wanted, "another"]])
        found = [
            row[0] for row in among(connection, "SELECT name, id FROM label WHERE id > ? AND name IN ?*", (0,), wanted)
        ]
    assert sorted(found) == sorted(wanted)


def test_known_keys_are_looked_up_by_their_index(store: Store) -> None:
    head = KNOWN_KEYS.removesuffix(" IN ?*")
    with store.database.writing() as connection:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
            statement = f"EXPLAIN {head.replace('?', '1')} = ANY(ARRAY['a'])"
        else:
            statement = f"EXPLAIN QUERY PLAN {head.replace('?', '1')} IN ('a', 'b')"
        plan = str(connection.exec_driver_sql(statement).all())
    assert f"uq_{image.name}_collection_id_key" in plan
