"""A full disk, a folder that cannot be written, two writers: reads go on, writes say so, nothing needs repair."""

import multiprocessing
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from api.exits import TRY_AGAIN, exit_code
from search.errors import LookalikeError, StoreTooNew, StoreUnavailable
from search.finding.snapshot import SnapshotReader
from search.storing.removals import remove_images
from search.storing.store import Store
from search.upkeep.compaction import compact
from search.upkeep.status import collection_status
from search.upkeep.verification import verify
from tests import fault_worker
from tests.fault_worker import add, open_store, publish, row_of

context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload(["tests.kill_worker", "tests.warmed"])
NOBODY = 65534


@pytest.fixture
def filled(quick_folder: Path) -> Path:
    store, target = open_store(quick_folder)
    with store:
        add(quick_folder, store, target, ["a", "b"])
        publish(store, target)
        add(quick_folder, store, target, ["c"])
    return quick_folder


def answers(root: Path) -> list[object]:
    """Return what a reader finds out: the ids of the best matches, the counts, and how many faults there are."""
    with Store(root / "store") as store:
        target = store.catalogue.collection("default")
        found = SnapshotReader(store.database, store.blobs, target).current().search(row_of("b"), 3)
        return [found.ids.tolist(), collection_status(store, target).summary, len(verify(store, deep=True))]


EXPECTED: list[object] = [2, "3 of 3 images searchable", 0]


def short(found: list[object]) -> list[object]:
    ids = found[0]
    assert isinstance(ids, list)
    return [ids[0], *found[1:]]


@contextmanager
def disk(folder: Path) -> Iterator[None]:
    """Make a folder a disk of its own, 2 MiB large; somebody who must not mount tests what SQLite does by itself."""
    folder.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], capture_output=True, check=False)
    try:
        yield
    finally:
        if mount.returncode == 0:
            subprocess.run(["umount", "-l", folder], check=True)


def fill(folder: Path, left: int) -> Path | None:
    """Leave so many bytes of a small disk free, and return the file that takes the others; None on a large disk."""
    if shutil.disk_usage(folder).total > 2 << 20:
        return None
    ballast = folder / "ballast"
    ballast.write_bytes(bytes(shutil.disk_usage(folder).free - left))
    return ballast


@contextmanager
def bounded(store: Store) -> Iterator[None]:
    """Keep SQLite from growing: what it does then is what it does on a full disk."""

    def bound(connection: Any, _entry: object) -> None:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count={pages}").close()

    store.database.engine.dispose()
    event.listen(store.database.engine, "connect", bound)
    try:
        yield
    finally:
        event.remove(store.database.engine, "connect", bound)
        store.database.engine.dispose()


@pytest.mark.parametrize("left", [0, 4096, 16_384, 49_152, 65_536, 131_072])
def test_a_full_disk_stops_writes_with_a_word_and_no_read(tmp_path: Path, left: int) -> None:
    place = tmp_path / "disk"
    with disk(place):
        store, target = open_store(place)
        with store:
            add(place, store, target, ["a", "b"])
            publish(store, target)
            add(place, store, target, ["c"])
            before = answers(place)
            ballast = fill(place, left)
            with bounded(store) if ballast is None else nullcontext(), pytest.raises(StoreUnavailable) as told:
                add(place, store, target, [f"new{number}" for number in range(1000)])
            assert "free space" in str(told.value)
            assert exit_code(told.value) == TRY_AGAIN
            assert answers(place) == before
            if ballast is not None:
                ballast.unlink()
            assert fault_worker.violations(place) == []
            add(place, store, target, [f"new{number}" for number in range(1000)])
        assert fault_worker.finish(place) == []


def test_sqlite_that_cannot_grow_says_that_space_is_missing(filled: Path) -> None:
    with Store(filled / "store") as store:
        target = store.catalogue.collection("default")
        told = "the catalogue .* cannot be written: database or disk is full; free space"
        with bounded(store), pytest.raises(StoreUnavailable, match=told):
            add(filled, store, target, [f"new{number}" for number in range(1000)])
        assert short(answers(filled)) == EXPECTED
        add(filled, store, target, [f"new{number}" for number in range(1000)])


def visit_as_nobody(root: str, pipe: Connection) -> None:
    answers(Path(root))  # what is imported late may lie where nobody may look
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    place = Path(root)
    told = []
    with Store(place / "store") as store:
        target = store.catalogue.collection("default")
        tries: list[Callable[[], object]] = [
            lambda: add(place, store, target, ["x"]),
            lambda: remove_images(store.database, target, [1]),
            lambda: publish(store, target),
            lambda: compact(store),
        ]
        for one in tries:
            try:
                one()
            except LookalikeError as error:
                told.append((exit_code(error), str(error)))
            else:
                told.append((0, "it was written"))
    pipe.send((answers(place), told))


def test_a_store_that_cannot_be_written_is_searched_and_says_so_to_writers(filled: Path) -> None:
    filled.chmod(0o755)
    for path in filled.rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    ours, theirs = context.Pipe()
    process = context.Process(target=visit_as_nobody, args=(str(filled), theirs))
    process.start()
    theirs.close()
    seen, told = ours.recv()
    process.join()
    for path in filled.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    assert short(seen) == EXPECTED
    assert [code for code, _ in told] == [TRY_AGAIN] * len(told), told
    assert all("permission" in message.lower() or "readonly" in message for _, message in told), told
    assert any("cannot be written: attempt to write a readonly database" in message for _, message in told), told
    assert not any("does not answer" in message for _, message in told), told
    assert short(answers(filled)) == EXPECTED


def work_beside(root: str, name: str) -> None:
    place = Path(root)
    store, target = open_store(place)
    with store:
        for number in range(10):
            names = [f"{name}{number}", f"shared{number}"]
            add(place, store, target, names)
            if number % 3 == 0:
                publish(store, target)
                compact(store)


def test_two_writers_and_a_reader_get_along(filled: Path) -> None:
    writers = [context.Process(target=work_beside, args=(str(filled), name)) for name in ("left", "right")]
    for writer in writers:
        writer.start()
    seen = [3]
    with Store(filled / "store") as store:
        reader = SnapshotReader(store.database, store.blobs, store.catalogue.collection("default"))
        while any(writer.is_alive() for writer in writers):
            snapshot = reader.current()
            assert snapshot.search(row_of("b"), 1).ids.tolist() == [2]
            seen.append(len(snapshot))
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert seen == sorted(seen), "an acknowledged image went missing for a moment"
    assert fault_worker.violations(filled) == []
    assert short(answers(filled))[1:] == ["33 of 33 images searchable", 0]


@pytest.mark.parametrize("what", ["format", "catalogue"])
def test_a_store_of_a_newer_release_is_left_alone(filled: Path, what: str) -> None:
    if what == "format":
        (filled / "store" / "store.toml").write_text("format = 99\n")
    else:
        with Store(filled / "store") as store, store.database.writing() as connection:
            connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    before = shutil.copytree(filled / "store", filled / "before")
    with pytest.raises(StoreTooNew, match="newer"):
        Store(filled / "store")
    for path in before.rglob("*"):
        if path.is_file():
            assert (filled / "store" / path.relative_to(before)).read_bytes() == path.read_bytes()


def test_the_word_for_a_locked_store_is_try_again() -> None:
    assert exit_code(StoreUnavailable("locked")) == TRY_AGAIN
