import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import bindparam, select, text

from search.database.database import Database
from search.database.tables import collection
from search.errors import StoreUnavailable
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


def test_glances_leave_no_file_open_when_the_database_is_closed(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/catalogue.sqlite")
    for _ in range(3):
        assert database.glance(select(text("1"))) == (1,)
    assert str(tmp_path / "catalogue.sqlite") in _open_files()
    database.close()
    assert str(tmp_path / "catalogue.sqlite") not in _open_files()


def _open_files() -> list[str]:
    return [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]


def test_a_glance_at_a_database_that_is_gone_says_nothing_and_an_ordinary_look_says_why(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/gone/catalogue.sqlite")
    assert database.glance(NAMED, name="cats") is None
    with pytest.raises(StoreUnavailable, match="unable to open"), database.reading() as connection:
        connection.execute(select(collection.c.id))


def test_forty_threads_that_hold_an_answer_may_each_ask_another_question(store: Store) -> None:
    together = threading.Barrier(40)

    def asks(_: int) -> int:
        with store.database.reading() as one:
            one.execute(select(collection.c.id)).all()
            together.wait(20)
            with store.database.reading() as other:
                return len(other.execute(select(collection.c.id)).all())

    with ThreadPoolExecutor(40) as threads:
        assert list(threads.map(asks, range(40))) == [0] * 40


def test_a_glance_holds_no_lock_once_it_has_answered(store: Store) -> None:
    store.open_collection("cats", SpaceSpec("fake", "0" * 64, "{}", 4))
    for sequence in range(1, 4):
        assert store.database.glance(NAMED, name="cats") is not None
        with store.database.writing() as connection:
            connection.execute(collection.update().values(sequence=sequence))
