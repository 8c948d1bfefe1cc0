"""A restore goes through or leaves nothing, wherever the catalogue lies, and empties nothing that anybody else uses."""

import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text, update

from search.database.claims import is_claimed
from search.database.database import Database
from search.database.tables import image
from search.errors import CorruptFile, GuardRefused, StoreUnavailable
from search.moving import restore as restore_module
from search.moving.backup import back_up
from search.moving.restore import restore
from search.storing.store import Store
from search.upkeep.verification import verify
from tests.conftest import new_database
from tests.stored_rows import add, golden
from tests.test_backup import in_process, restore_there


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store/ of 20 images and its backup/, read only."""
    folder = tmp_path_factory.mktemp("sound")
    with Store.create(folder / "store") as made:
        add(made, 0, 20)
        back_up(made, folder / "backup")
    return folder


@pytest.mark.parametrize("point", ["restore.catalogue", "store.rename"])
def test_a_restore_into_postgresql_that_was_killed_empties_the_database_and_begins_again(
    sound: Path, tmp_path: Path, postgresql: str, point: str
) -> None:
    root, url = tmp_path / "again", new_database(postgresql)
    killed = in_process(restore_there, sound / "backup", root, url, fault=f"{point}:1:kill")
    assert killed == -signal.SIGKILL
    with pytest.raises(GuardRefused, match="or run the restore that was killed there again, into its own folder"):
        restore(sound / "backup", tmp_path / "elsewhere", catalogue=url)
    # What goes wrong in between does not make the database a stranger's.
    with pytest.raises(StoreUnavailable):
        restore(sound / "backup", root, catalogue="postgresql://tester@127.0.0.1:1/none")
    restore(sound / "backup", root, catalogue=url)
    with Store(root) as again, Store(sound / "store") as made:
        assert golden(again) == golden(made)
        assert verify(again, deep=True) == []
        with again.database.reading() as connection:
            assert not is_claimed(connection)
    assert not (root / ".restoring").exists()


@pytest.fixture(params=["sqlite", "postgresql"])
def elsewhere(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a catalogue that is not there yet, outside of the folder of its store."""
    if request.param == "postgresql":
        return new_database(request.getfixturevalue("postgresql"))
    (tmp_path / "databases").mkdir()
    return f"sqlite:///{tmp_path}/databases/one.sqlite"


def files_of(folder: Path) -> list[str]:
    """Return what lies in a folder, but the journals that SQLite leaves empty beside a database."""
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".sqlite-journal"))


def test_a_restore_that_was_killed_at_its_very_end_is_a_store(sound: Path, tmp_path: Path, elsewhere: str) -> None:
    root = tmp_path / "again"
    killed = in_process(restore_there, sound / "backup", root, elsewhere, fault="restore.settle:1:kill")
    assert killed == -signal.SIGKILL
    with pytest.raises(GuardRefused, match="holds a store"):
        restore(sound / "backup", root, catalogue=elsewhere)
    with Store(root) as again:
        assert verify(again, deep=True) == []
        with again.database.reading() as connection:
            assert not is_claimed(connection), "nobody took the claim off"


def test_a_database_that_was_used_since_a_restore_was_killed_is_never_emptied(
    sound: Path, tmp_path: Path, elsewhere: str
) -> None:
    root = tmp_path / "again"
    in_process(restore_there, sound / "backup", root, elsewhere, fault="restore.announce:1:kill")
    with Store.create(tmp_path / "other", catalogue=elsewhere, blobs=str(root)) as other:
        with other.database.writing() as connection:
            # As PATCH does: no commit, no job.
            connection.execute(update(image).where(image.c.id == 1).values(metadata={"rating": 5}))
        with pytest.raises(GuardRefused, match="not empty|exists"):
            restore(sound / "backup", root, catalogue=elsewhere)
        assert golden(other)[0][0].metadata == {"rating": 5}
        assert verify(other, deep=True) == [], "its segments are gone"


def test_a_database_that_was_only_looked_at_since_a_restore_was_killed_is_never_emptied(
    sound: Path, tmp_path: Path, elsewhere: str
) -> None:
    root = tmp_path / "again"
    in_process(restore_there, sound / "backup", root, elsewhere, fault="restore.announce:1:kill")
    Store.create(tmp_path / "other", catalogue=elsewhere, blobs=str(root)).close()
    with pytest.raises(GuardRefused, match="not empty|exists"):
        restore(sound / "backup", root, catalogue=elsewhere)


def test_what_a_store_wrote_that_was_open_before_the_restore_is_never_emptied(
    sound: Path, tmp_path: Path, postgresql: str
) -> None:
    root, url = tmp_path / "again", new_database(postgresql)
    with Store.create(tmp_path / "other", catalogue=url) as other:
        in_process(restore_there, sound / "backup", root, url, fault="restore.announce:1:kill")
        with other.database.writing() as connection:
            assert is_claimed(connection)
            connection.execute(update(image).where(image.c.id == 1).values(metadata={"rating": 5}))
        with pytest.raises(GuardRefused, match="is not empty"):
            restore(sound / "backup", root, catalogue=url)
        assert other.catalogue.count_images(1) == 20


@pytest.mark.parametrize("point", ["restore.file", "restore.catalogue", "store.rename"])
def test_a_killed_restore_with_an_sqlite_catalogue_elsewhere_goes_through_the_next_time(
    sound: Path, tmp_path: Path, point: str
) -> None:
    root, url = tmp_path / "again", f"sqlite:///{tmp_path}/databases/one.sqlite"
    (tmp_path / "databases").mkdir()
    killed = in_process(restore_there, sound / "backup", root, url, fault=f"{point}:1:kill")
    assert killed == -signal.SIGKILL
    restore(sound / "backup", root, catalogue=url)
    with Store(root) as again, Store(sound / "store") as made:
        assert golden(again) == golden(made)
        assert verify(again, deep=True) == []
    assert files_of(root) == ["generations", "segments", "store.toml"]
    assert files_of(tmp_path / "databases") == ["one.sqlite"]


@pytest.mark.parametrize("point", ["restore.catalogue", "store.rename"])
def test_a_restore_that_takes_another_catalogue_the_next_time_clears_the_first_one(
    sound: Path, tmp_path: Path, point: str
) -> None:
    root, first, second = (tmp_path / name for name in ("again", "first", "second"))
    first.mkdir()
    second.mkdir()
    url = f"sqlite:///{first}/one.sqlite"
    in_process(restore_there, sound / "backup", root, url, fault=f"{point}:1:kill")
    assert list(first.iterdir())
    restore(sound / "backup", root, catalogue=f"sqlite:///{second}/two.sqlite")
    assert (list(first.iterdir()), files_of(second)) == ([], ["two.sqlite"])


def test_a_full_disk_leaves_nothing_of_a_catalogue_elsewhere(
    sound: Path, tmp_path: Path, fail: Callable[[str], None]
) -> None:
    (tmp_path / "databases").mkdir()
    fail("restore.announce:1:enospc")
    with pytest.raises(StoreUnavailable, match="No space left on device"):
        restore(sound / "backup", tmp_path / "again", catalogue=f"sqlite:///{tmp_path}/databases/one.sqlite")
    assert (files_of(tmp_path / "again"), list((tmp_path / "databases").iterdir())) == ([], [])


def meanwhile(monkeypatch: pytest.MonkeyPatch, second: Callable[[], object]) -> None:
    """Let another restore run while the first one is copying its segments."""
    copy, times = restore_module._Restore._restore_segments, iter([True])

    def copy_and_wait(run: restore_module._Restore, database: Database) -> None:
        copy(run, database)
        if next(times, False):
            second()

    monkeypatch.setattr(restore_module._Restore, "_restore_segments", copy_and_wait)


def test_two_restores_with_catalogues_in_one_folder_leave_each_other_alone(
    sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "databases").mkdir()
    names = ("one", "two")
    urls = {name: f"sqlite:///{tmp_path}/databases/{name}.sqlite" for name in names}
    meanwhile(monkeypatch, lambda: restore(sound / "backup", tmp_path / "two", catalogue=urls["two"]))
    restore(sound / "backup", tmp_path / "one", catalogue=urls["one"])
    for name in names:
        with Store(tmp_path / name) as again:
            assert verify(again, deep=True) == []
    assert files_of(tmp_path / "databases") == ["one.sqlite", "two.sqlite"]


def test_of_two_restores_to_one_catalogue_the_slower_is_refused_and_takes_nothing_away(
    sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "databases").mkdir()
    url = f"sqlite:///{tmp_path}/databases/one.sqlite"
    meanwhile(monkeypatch, lambda: restore(sound / "backup", tmp_path / "faster", catalogue=url))
    with pytest.raises(GuardRefused, match="exists, so nothing was restored"):
        restore(sound / "backup", tmp_path / "slower", catalogue=url)
    with Store(tmp_path / "faster") as again:
        assert verify(again, deep=True) == []
    assert (files_of(tmp_path / "slower"), files_of(tmp_path / "databases")) == ([], ["one.sqlite"])


def test_a_folder_whose_mark_says_nothing_is_not_cleared(sound: Path, tmp_path: Path) -> None:
    (tmp_path / "segments").mkdir()
    (tmp_path / "segments" / "mine").write_text("mine")
    (tmp_path / ".restoring").write_text("")
    with pytest.raises(GuardRefused, match="is not empty"):
        restore(sound / "backup", tmp_path)
    assert (tmp_path / "segments" / "mine").read_text() == "mine"


def test_a_comment_that_somebody_else_wrote_stays_in_the_database(postgresql: str, tmp_path: Path) -> None:
    url = new_database(postgresql)
    comment = text("SELECT obj_description('collection'::regclass, 'pg_class')")
    with Store.create(tmp_path / "store", catalogue=url) as store, store.database.writing() as connection:
        connection.execute(text("COMMENT ON TABLE collection IS 'ours'"))
    with Store(tmp_path / "store") as store, store.database.reading() as connection:
        assert connection.execute(comment).scalar() == "ours"


def test_metadata_that_is_no_json_is_not_copied_into_postgresql(sound: Path, tmp_path: Path, postgresql: str) -> None:
    root = Path(shutil.copytree(sound / "store", tmp_path / "store"))
    with Store(root) as store:
        with store.database.writing() as connection:
            connection.execute(text("UPDATE image SET metadata = 'not json' WHERE id = 3"))
        back_up(store, tmp_path / "backup")
    with pytest.raises(CorruptFile, match="table image holds a value that is no JSON .*`lookalike repair`"):
        restore(tmp_path / "backup", tmp_path / "again", catalogue=new_database(postgresql))


@pytest.mark.parametrize("reachable", [True, False])
def test_a_restore_into_postgresql_that_fails_leaves_the_database_empty_or_its_mark(  # noqa: PLR0913
    sound: Path,
    tmp_path: Path,
    postgresql: str,
    fail: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
    reachable: bool,
) -> None:
    root, url = tmp_path / "again", new_database(postgresql)
    fail("restore.announce:1:enospc")
    with monkeypatch.context() as patch:
        if not reachable:
            # As after a cut of the network: what was committed cannot be taken back now.
            asked = restore_module._require_empty_catalogue
            patch.setattr(restore_module, "_require_empty_catalogue", _once(asked))
        with pytest.raises(StoreUnavailable, match="No space left on device"):
            restore(sound / "backup", root, catalogue=url)
    assert [path.name for path in root.iterdir()] == ([] if reachable else [".restoring"])
    restore(sound / "backup", root if not reachable else tmp_path / "elsewhere", catalogue=url)


def _once(asked: Callable[..., None]) -> Callable[..., None]:
    """Return a question that is answered the first time only."""
    times = iter([True])

    def ask(*arguments: object) -> None:
        if not next(times, False):
            raise StoreUnavailable("the database does not answer")
        asked(*arguments)

    return ask
