from sqlalchemy import bindparam, select, text

from search.database.tables import collection
from search.records import SpaceSpec
from search.storing.store import Store

NAMED = select(collection.c.id, collection.c.sequence).where(collection.c.name == bindparam("name"))


def test_a_glance_sees_what_another_connection_has_just_committed(store: Store) -> None:
    assert store.database.glance(NAMED, name="cats") is None
    target = store.open_collection("cats", SpaceSpec("fake", "0" * 64, "{}", 4))
    assert store.database.glance(NAMED, name="cats") == (target.id, 0)
    with store.database.writing() as connection:
        connection.execute(collection.update().values(sequence=7))
        assert store.database.glance(NAMED, name="cats") == (target.id, 0)
    assert store.database.glance(NAMED, name="cats") == (target.id, 7)


def test_a_glance_at_what_is_not_there_says_nothing_and_leaves_the_connection_usable(store: Store) -> None:
    assert store.database.glance(select(text("nothing")).select_from(text("nowhere"))) is None
    assert store.database.glance(NAMED, name="cats") is None
    with store.database.reading() as connection:
        assert connection.execute(select(collection.c.id)).all() == []


def test_a_glance_holds_no_lock_once_it_has_answered(store: Store) -> None:
    store.open_collection("cats", SpaceSpec("fake", "0" * 64, "{}", 4))
    for sequence in range(1, 4):
        assert store.database.glance(NAMED, name="cats") is not None
        with store.database.writing() as connection:
            connection.execute(collection.update().values(sequence=sequence))
