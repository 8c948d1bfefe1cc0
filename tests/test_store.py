"""Stores, their settings and their migrations."""

from collections import Counter
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import inspect, text

from search.database import schema
from search.database.database import Database
from search.database.tables import metadata
from search.errors import (
    CollectionNotFound,
    CorruptFile,
    SpaceMismatch,
    StoreNotFound,
    StoreTooNew,
    StoreUnavailable,
    UsageError,
)
from search.settings import read_settings
from search.storing.image_records import images_with
from search.storing.store import Store, default_root
from tests.fakes import FakeBackbone


@pytest.mark.filterwarnings("ignore:.*expression-based index:UserWarning", "ignore:.*expression-based index:Warning")
def test_the_migrations_make_exactly_the_tables_of_the_code(store: Store) -> None:
    with store.database.reading() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


@pytest.mark.parametrize("name", ["a%20b", "100 %", "which?", "a#b", "ümlaut & more", "x?mode=ro"])
def test_a_store_lies_in_a_folder_of_any_name(tmp_path: Path, name: str) -> None:
    with Store.create(tmp_path / name) as store:
        store.open_collection("mine", FakeBackbone().space)
    assert {path.name for path in (tmp_path / name).iterdir()} >= {"catalogue.sqlite", "store.toml"}
    with Store(tmp_path / name) as again:
        assert [one.name for one in again.catalogue.collections()] == ["mine"]
        assert again.catalogue.collection("mine").name == "mine"
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_down_and_up_again_is_the_same(store: Store) -> None:
    schema.downgrade(store.database, "0001")
    assert schema.pending(store.database) == [
        "0002",
        "0003",
        "0004",
        "0005",
        "0006",
        "0007",
        "0008",
        "0012",
        "0013",
        "0014",
        "0015",
    ]
    schema.downgrade(store.database, "base")
    with pytest.raises(CorruptFile, match="is missing or empty"):
        schema.pending(store.database)
    with store.database.reading() as connection:
        assert inspect(connection).get_table_names() in ([], ["alembic_version"])
    schema.upgrade(store.database)
    assert schema.pending(store.database) == []


def test_a_store_that_is_not_there_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(StoreNotFound, match=r"no store in .*; `lookalike init`"):
        Store(tmp_path)


def test_a_store_of_a_newer_format_is_refused(tmp_path: Path) -> None:
    Store.create(tmp_path).close()
    (tmp_path / "store.toml").write_text("format = 2\n")
    with pytest.raises(StoreTooNew, match="format 2; this release knows up to 1"):
        Store(tmp_path)


def test_a_catalogue_of_a_newer_release_is_refused(store: Store) -> None:
    with store.database.writing() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StoreTooNew, match="revision 9999"):
        Store(store.root)


@pytest.mark.parametrize(("content", "complaint"), [("format =", "not valid TOML"), ("format = 'x'", "whole number")])
def test_unusable_settings_name_the_file_and_the_value(tmp_path: Path, content: str, complaint: str) -> None:
    (tmp_path / "store.toml").write_text(content)
    with pytest.raises(UsageError, match=complaint):
        read_settings(tmp_path)


@pytest.mark.parametrize(
    ("point", "action"),
    [
        *(("store.write", action) for action in ("eio", "enospc", "short", "cut")),
        *(("store.rename", action) for action in ("eio", "enospc", "short")),
    ],
)
def test_settings_that_could_not_be_written_whole_make_no_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str, action: str
) -> None:
    monkeypatch.setattr("search.faults._hits", Counter())
    monkeypatch.setenv("LOOKALIKE_FAULT", f"{point}:1:{action}")
    with pytest.raises(UsageError, match="cannot make a store in"):
        Store.create(tmp_path)
    assert [path.name for path in tmp_path.iterdir() if "catalogue" not in path.name] == []
    monkeypatch.delenv("LOOKALIKE_FAULT")
    Store.create(tmp_path).close()


def test_blobs_of_another_store_are_refused(tmp_path: Path) -> None:
    with Store.create(tmp_path / "one", blobs=str(tmp_path / "blobs")) as store:
        store.blobs.write("segments", ".lks", [b"data"], point="segment")
    with pytest.raises(UsageError, match="holds 1 blobs that this catalogue does not know"):
        Store.create(tmp_path / "two", blobs=str(tmp_path / "blobs"))


def test_the_environment_comes_before_store_toml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "store.toml").write_text('format = 1\nblobs = "elsewhere"\n')
    assert read_settings(tmp_path).blobs == tmp_path / "elsewhere"
    monkeypatch.setenv("LOOKALIKE_BLOBS", "/other")
    assert read_settings(tmp_path).blobs == Path("/other")
    monkeypatch.setenv("LOOKALIKE_STORE", "/stores/mine")
    assert default_root() == Path("/stores/mine")


def test_a_store_can_be_moved_with_its_folder(tmp_path: Path) -> None:
    Store.create(tmp_path / "old").close()
    (tmp_path / "old").rename(tmp_path / "new")
    with Store(tmp_path / "new") as moved:
        assert moved.catalogue.collections() == []


@pytest.mark.parametrize("catalogue", ["mysql://host/name", "somewhere"])
def test_a_catalogue_url_of_another_kind_is_refused(tmp_path: Path, catalogue: str) -> None:
    with pytest.raises(UsageError, match="is no database URL"):
        Store.create(tmp_path, catalogue=catalogue)


def test_a_database_that_does_not_answer_is_try_again(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="does not answer"):
        Store.create(tmp_path, catalogue="postgresql://nobody@127.0.0.1:1/none")


def test_a_locked_database_is_try_again(local_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.database.database.BUSY_TIMEOUT_S", 0.05)
    other = Database(local_store.settings.catalogue)
    with (
        local_store.database.writing(),
        pytest.raises(StoreUnavailable, match="database is locked; try again"),
        other.writing(),
    ):
        pass
    other.close()


def test_sqlite_runs_with_a_rollback_journal_and_full_synchronisation(local_store: Store) -> None:
    with local_store.database.reading() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "truncate"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1


def test_a_collection_keeps_its_space(store: Store) -> None:
    made = store.open_collection("default", FakeBackbone().space)
    assert store.open_collection("default", FakeBackbone().space) == made
    with pytest.raises(SpaceMismatch, match="use --collection NAME for a new collection"):
        store.open_collection("default", FakeBackbone("other").space)


@pytest.mark.parametrize("name", ["", "a/b", "x" * 201])
def test_a_name_that_no_url_could_hold_is_refused(local_store: Store, name: str) -> None:
    with pytest.raises(UsageError, match="cannot name a collection"):
        local_store.open_collection(name, FakeBackbone().space)


def test_an_unknown_collection_says_how_to_make_one(store: Store) -> None:
    with pytest.raises(CollectionNotFound, match="lookalike index FOLDER"):
        store.catalogue.collection("nowhere")


def test_a_damaged_catalogue_is_named_as_such(tmp_path: Path) -> None:
    Store.create(tmp_path).close()
    (tmp_path / "catalogue.sqlite").write_bytes(b"no database at all" * 300)
    with pytest.raises(CorruptFile, match="is damaged: .*; restore the store from a backup"):
        Store(tmp_path)


def test_a_few_images_of_many_are_found_by_their_ids_and_not_by_going_through_the_collection(
    local_store: Store,
) -> None:
    query = images_with(1, range(1, 41))
    with local_store.database.reading() as connection:
        words = str(query.compile(connection, compile_kwargs={"literal_binds": True}))
        plan = [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {words}")]
    assert plan[0] == "SEARCH image USING INTEGER PRIMARY KEY (rowid=?)"
