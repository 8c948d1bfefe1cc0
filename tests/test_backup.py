"""Backups are whole or not there, taken under load, and restored only when every byte is what was written."""

import io
import json
import multiprocessing
import os
import signal
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import delete, insert, select, update

from search.blobs.segments import write_segment
from search.database.tables import embedding, image, segment
from search.errors import CorruptFile, GuardRefused, LookalikeError, StoreTooNew, StoreUnavailable, UsageError
from search.faults import BACKUP_POINTS, RESTORE_POINTS
from search.finding.generations import Generations
from search.moving import backup as backup_module
from search.moving.backup import back_up
from search.moving.backup_files import MANIFEST
from search.moving.restore import restore
from search.storing.store import Store
from search.upkeep.verification import verify
from tests.conftest import new_database
from tests.stored_rows import add, embeddings_of, golden

context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload(["tests.test_backup"])


@pytest.fixture
def filled(store: Store) -> Store:
    """40 images, 30 of them in a generation, and another collection."""
    target = add(store, 0, 30)
    Generations(store.database, store.blobs, target).publish(target.sequence)
    add(store, 30, 10)
    add(store, 100, 3, collection="other")
    return store


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup folder and a backup.tar of one store with 20 images, read only."""
    folder = tmp_path_factory.mktemp("sound")
    with Store.create(folder / "store") as made:
        add(made, 0, 20)
        back_up(made, folder / "backup")
        back_up(made, folder / "backup.tar")
    return folder


@pytest.mark.parametrize("name", ["backup", "backup.tar"])
def test_a_restored_store_answers_golden_queries_identically(filled: Store, tmp_path: Path, name: str) -> None:
    report = back_up(filled, tmp_path / name)
    assert [(one["name"], one["images"]) for one in report.manifest.collections] == [("default", 40), ("other", 3)]
    restore(tmp_path / name, tmp_path / "again")
    with Store(tmp_path / "again") as again:
        for collection in ("default", "other"):
            assert golden(again, collection) == golden(filled, collection)
        assert verify(again, deep=True) == []
        target = again.catalogue.collection("default")
        current = Generations(again.database, again.blobs, target).current()
        assert current is not None
        assert current.rows == 40, "the index was not built anew"
    left = {path.name for path in (tmp_path / "again").iterdir()} - {"catalogue.sqlite-journal"}
    assert left == {"catalogue.sqlite", "generations", "segments", "store.toml"}


def test_a_backup_of_either_database_becomes_a_store_on_postgresql(
    filled: Store, tmp_path: Path, postgresql: str
) -> None:
    back_up(filled, tmp_path / "backup")
    url = new_database(postgresql)
    restore(tmp_path / "backup", tmp_path / "again", catalogue=url)
    with Store(tmp_path / "again") as again:
        assert again.database.engine.dialect.name == "postgresql"
        assert golden(again) == golden(filled)
        assert verify(again, deep=True) == []
    with pytest.raises(GuardRefused, match="is not empty"):
        restore(tmp_path / "backup", tmp_path / "third", catalogue=url)
    assert list((tmp_path / "third").iterdir()) == []


def test_ids_go_on_where_the_store_was_even_after_the_newest_images_are_gone(filled: Store, tmp_path: Path) -> None:
    with filled.database.writing() as connection:
        newest = connection.execute(select(image.c.id).order_by(image.c.id.desc()).limit(1)).scalar_one()
        connection.execute(delete(image).where(image.c.id > newest - 2))
    back_up(filled, tmp_path / "backup")
    restore(tmp_path / "backup", tmp_path / "again")
    with Store(tmp_path / "again") as again:
        target = add(again, 500, 1)
        assert again.catalogue.newest_image_id(target.id) > newest


def test_a_backup_under_load_is_exactly_one_commit_point(store: Store, tmp_path: Path) -> None:
    add(store, 0, 4)
    written = {1: 4}
    stop = threading.Event()

    def keep_committing() -> None:
        with Store(store.root) as other:
            first = 4
            while not stop.is_set():
                target = add(other, first, 3)
                first += 3
                written[target.sequence] = first

    writer = threading.Thread(target=keep_committing)
    writer.start()
    try:
        for number in range(4):
            before = store.catalogue.collection("default").sequence
            back_up(store, tmp_path / f"{number}.tar")
            assert store.catalogue.collection("default").sequence >= before
    finally:
        stop.set()
        writer.join()
    reached = []
    for number in range(4):
        restore(tmp_path / f"{number}.tar", tmp_path / f"again{number}")
        with Store(tmp_path / f"again{number}") as again:
            images, _ = golden(again)
            sequence = again.catalogue.collection("default").sequence
            assert len(images) == written[sequence], "not what was there after that commit"
            assert {one.uri for one in images} == {f"file:///photos/{n}.jpg" for n in range(written[sequence])}
            assert verify(again, deep=True) == []
            reached.append(sequence)
    assert reached[-1] > reached[0], "nothing was committed meanwhile"


def test_a_segment_that_compaction_takes_away_meanwhile_makes_it_take_the_catalogue_again(
    filled: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = golden(filled)
    original, taken = backup_module._slimmed, []

    def compacted_just_after(path: Path) -> object:
        answer = original(path)
        taken.append(path)
        if len(taken) == 1:
            compact(filled)
        return answer

    monkeypatch.setattr(backup_module, "_slimmed", compacted_just_after)
    report = back_up(filled, tmp_path / "backup.tar")
    assert report.attempts == 2
    restore(tmp_path / "backup.tar", tmp_path / "again")
    with Store(tmp_path / "again") as again:
        assert golden(again) == expected
        assert verify(again, deep=True) == []


def compact(store: Store) -> None:
    """Put the first segment's rows into a fresh one, and remove the old one at once."""
    with store.database.reading() as connection:
        old = connection.execute(select(segment).order_by(segment.c.id).limit(1)).one()
    fresh = write_segment(store.blobs, embeddings_of(0, old.rows))
    with store.database.writing() as connection:
        columns = ("name", "rows", "size_bytes", "sha256", "checksums")
        values = {name: getattr(fresh, name) for name in columns} | {"space_id": old.space_id}
        new_id = connection.execute(insert(segment).values(values).returning(segment.c.id)).scalar_one()
        connection.execute(update(embedding).where(embedding.c.segment_id == old.id).values(segment_id=new_id))
        connection.execute(delete(segment).where(segment.c.id == old.id))
    (Path(store.settings.blobs) / old.name).unlink()


def test_retired_segments_and_generations_stay_behind(filled: Store, tmp_path: Path) -> None:
    with filled.database.writing() as connection:
        fresh = write_segment(filled.blobs, embeddings_of(0, 2))
        columns = ("name", "rows", "size_bytes", "sha256", "checksums")
        values = {name: getattr(fresh, name) for name in columns}
        connection.execute(insert(segment).values(values | {"space_id": 1, "retired_at": 1.0}))
    report = back_up(filled, tmp_path / "backup")
    names = {file.name for file in report.manifest.files}
    assert fresh.name not in names
    assert len(names) == 4, "the catalogue and three segments"


@pytest.mark.parametrize("damage", ["flip", "cut", "gone"])
def test_a_damaged_segment_is_named_and_nothing_is_left(filled: Store, tmp_path: Path, damage: str) -> None:
    path = next((Path(filled.settings.blobs) / "segments").iterdir())
    data = bytearray(path.read_bytes())
    if damage == "flip":
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    elif damage == "cut":
        path.write_bytes(data[:-1])
    else:
        path.unlink()
    with pytest.raises(CorruptFile, match=path.name):
        back_up(filled, tmp_path / "backup.tar")
    assert [found.name for found in tmp_path.iterdir() if "backup" in found.name] == []


def test_what_is_there_already_is_never_overwritten(sound: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with Store(sound / "store") as made:
        for place in (sound / "backup", sound / "backup.tar", tmp_path / "link", tmp_path / "empty"):
            with pytest.raises(UsageError, match="exists"):
                back_up(made, place)
        with pytest.raises(UsageError, match="is no folder; make it first"):
            back_up(made, tmp_path / "a" / "b")


def test_a_folder_that_is_not_empty_is_refused_and_untouched(sound: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(GuardRefused, match="is not empty"):
        restore(sound / "backup", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    with pytest.raises(GuardRefused, match="is not empty"):
        restore(sound / "backup", sound / "store")
    with Store(sound / "store") as made:
        assert verify(made) == []


@pytest.mark.parametrize("kind", ["backup", "backup.tar"])
def test_no_flipped_bit_of_a_backup_gets_through(sound: Path, tmp_path: Path, kind: str) -> None:
    with Store(sound / "store") as made:
        expected = golden(made)
    rng = np.random.default_rng(0)
    files = [sound / kind] if kind == "backup.tar" else [path for path in (sound / kind).rglob("*") if path.is_file()]
    survived = 0
    for trial in range(40):
        victim = files[trial % len(files)]
        data = bytearray(victim.read_bytes())
        data[rng.integers(len(data))] ^= 1 << rng.integers(8)
        copied = tmp_path / f"{trial}{victim.suffix}"
        if kind == "backup.tar":
            copied.write_bytes(data)
        else:
            copied.mkdir()
            for path in files:
                there = copied / path.relative_to(sound / kind)
                there.parent.mkdir(exist_ok=True)
                there.write_bytes(data if path == victim else path.read_bytes())
        try:
            restore(copied, tmp_path / f"store{trial}")
        except (CorruptFile, StoreTooNew):
            assert list((tmp_path / f"store{trial}").iterdir() if (tmp_path / f"store{trial}").exists() else []) == []
            continue
        survived += 1
        # A tar has bytes that mean nothing: padding, and the dates of its members.
        with Store(tmp_path / f"store{trial}") as again:
            assert golden(again) == expected
    assert survived <= (15 if kind == "backup.tar" else 0)


def test_a_backup_cut_anywhere_is_refused(sound: Path, tmp_path: Path) -> None:
    data = (sound / "backup.tar").read_bytes()
    manifest_at = data.rindex(MANIFEST.encode())
    for number, size in enumerate([0, 100, 512, len(data) // 2, manifest_at, manifest_at + 600]):
        (tmp_path / f"{number}.tar").write_bytes(data[:size])
        with pytest.raises(CorruptFile, match="no whole backup|not finished|manifest"):
            restore(tmp_path / f"{number}.tar", tmp_path / "store")
    (tmp_path / "folder").mkdir()
    with pytest.raises(CorruptFile, match="not finished"):
        restore(tmp_path / "folder", tmp_path / "store")
    with pytest.raises(UsageError, match="name a backup"):
        restore(tmp_path / "nowhere", tmp_path / "store")
    assert not (tmp_path / "store").exists()


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, link
    return made


@pytest.mark.parametrize(
    "planted",
    [
        member("../evil"),
        member("/etc/evil"),
        member("segments/../../evil"),
        member("segments/link.lks", tarfile.SYMTYPE, "/etc/passwd"),
        member("segments/hard.lks", tarfile.LNKTYPE, "catalogue.sqlite"),
        member("segments", tarfile.DIRTYPE),
        member("segments/pipe", tarfile.FIFOTYPE),
        member("catalogue.sqlite"),
    ],
    ids=lambda one: f"{one.name} {one.type!r}",
)
def test_a_tar_with_a_member_that_no_backup_has_is_refused(
    sound: Path, tmp_path: Path, planted: tarfile.TarInfo
) -> None:
    evil = tmp_path / "evil.tar"
    evil.write_bytes((sound / "backup.tar").read_bytes())
    with tarfile.open(evil, "a") as tar:
        tar.addfile(planted, io.BytesIO(b"") if planted.type == tarfile.REGTYPE else None)
    with pytest.raises(CorruptFile, match="that no backup has"):
        restore(evil, tmp_path / "store")
    assert not (tmp_path / "store").exists()


def copied(sound: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "copied"
    (folder / "segments").mkdir(parents=True)
    for path in (sound / "backup").rglob("*"):
        if path.is_file():
            (folder / path.relative_to(sound / "backup")).write_bytes(path.read_bytes())
    return folder


def test_links_in_a_backup_folder_are_not_followed(sound: Path, tmp_path: Path) -> None:
    folder = copied(sound, tmp_path)
    victim = next((folder / "segments").iterdir())
    victim.rename(tmp_path / "elsewhere")
    victim.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CorruptFile, match="no plain file"):
        restore(folder, tmp_path / "store")


def test_a_manifest_that_names_a_place_outside_is_refused(sound: Path, tmp_path: Path) -> None:
    from search.moving.backup_files import BackupFile, Manifest, load_manifest

    evil = Manifest("2026-11-22T00:00:00+00:00", None, (), (BackupFile("../../evil", 1, "0" * 64),))
    with pytest.raises(CorruptFile, match="which no backup holds"):
        load_manifest(evil.dump(), tmp_path)
    newer = json.loads((sound / "backup" / MANIFEST).read_bytes()) | {"format": 4}
    with pytest.raises(StoreTooNew, match="format 4"):
        load_manifest(json.dumps(newer).encode(), tmp_path)


def in_process(job: Callable[..., None], *arguments: Path | str, fault: str) -> int | None:
    process = context.Process(target=_run, args=(job, fault, *map(str, arguments)))
    process.start()
    process.join()
    return process.exitcode


def _run(job: Callable[..., None], fault: str, *arguments: str) -> None:
    os.environ["LOOKALIKE_FAULT"] = fault
    job(*arguments)


def back_up_there(root: str, place: str) -> None:
    with Store(Path(root)) as opened:
        back_up(opened, Path(place))


def restore_there(backup: str, root: str, catalogue: str | None = None) -> None:
    restore(Path(backup), Path(root), catalogue=catalogue)


@pytest.mark.parametrize(
    ("point", "name"), [*((point, "backup.tar") for point in BACKUP_POINTS), ("backup.manifest", "backup")]
)
def test_a_killed_backup_is_none_and_the_next_one_clears_its_remains(
    sound: Path, tmp_path: Path, point: str, name: str
) -> None:
    place = tmp_path / name
    assert in_process(back_up_there, sound / "store", place, fault=f"{point}:1:kill") == -signal.SIGKILL
    assert not place.exists()
    back_up_there(str(sound / "store"), str(place))
    assert [path.name for path in tmp_path.iterdir()] == [name]
    restore(place, tmp_path / "again")


LOCAL_POINTS = [point for point in RESTORE_POINTS if point != "restore.settle"]  # it is a store already then


@pytest.mark.parametrize("point", [*LOCAL_POINTS, "segment.write", "segment.folder", "store.rename"])
def test_a_killed_restore_is_no_store_and_the_next_one_goes_through(sound: Path, tmp_path: Path, point: str) -> None:
    root = tmp_path / "again"
    assert in_process(restore_there, sound / "backup.tar", root, fault=f"{point}:1:kill") == -signal.SIGKILL
    with pytest.raises(LookalikeError, match="there is no store"):
        Store(root)
    restore(sound / "backup.tar", root)
    with Store(root) as again, Store(sound / "store") as made:
        assert golden(again) == golden(made)
        assert verify(again, deep=True) == []
    assert len(list((root / "segments").iterdir())) == 1


@pytest.mark.parametrize("point", BACKUP_POINTS)
def test_a_full_disk_says_so_and_leaves_no_backup(
    sound: Path, tmp_path: Path, point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOOKALIKE_FAULT", f"{point}:1:enospc")
    monkeypatch.setattr("search.faults._hits", {point: 0})
    with pytest.raises(StoreUnavailable, match="No space left on device; free space"):
        back_up_there(str(sound / "store"), str(tmp_path / "backup"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("point", [*LOCAL_POINTS, "segment.write", "store.rename"])
def test_a_full_disk_while_restoring_leaves_the_folder_empty(
    sound: Path, tmp_path: Path, point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOOKALIKE_FAULT", f"{point}:1:enospc")
    monkeypatch.setattr("search.faults._hits", {point: 0})
    with pytest.raises(LookalikeError, match="No space left on device"):
        restore_there(str(sound / "backup"), str(tmp_path / "again"))
    assert list((tmp_path / "again").iterdir()) == []
