"""Job: copy a store into a backup while others index and search. Reads only.

First the catalogue, as of one moment; then every segment and every uploaded picture that this catalogue names, and the
plans: these files never change, so copying them later is right. One that went meanwhile, since compaction or somebody
removed what it was for, means: take the catalogue again.
Generations are a cache and stay behind. The backup is made beside its place and renamed at the end, so that at its
place there is a whole one or none.
"""

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from sqlalchemy import delete, exists, func, select

from search.blobs.blobs import sync_folder
from search.database import schema
from search.database.database import Database
from search.database.tables import collection, embedding, generation, image, segment
from search.errors import CorruptFile, StoreUnavailable
from search.faults import fault
from search.moving.backup_files import CATALOGUE, BackupFile, BackupWriter, FolderWriter, Manifest, TarWriter
from search.moving.partial_folders import partial_folder
from search.moving.plan_copies import copied_plans, objection_to
from search.moving.table_copy import copy_tables
from search.moving.upload_copies import is_named, named_uploads, size_of, upload_bytes
from search.records import uri_of_path
from search.storing.store import Store
from search.storing.uploads import SMALL, folder_of

ATTEMPTS = 5
BUSY_S = 60.0  # to wait for writers before the catalogue is copied
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class BackupReport:
    """What a backup holds. attempts: how often the catalogue had to be taken. left_out: by name, journals that were
    changed by somebody, so that no `undo` goes by them, and uploads that are gone or damaged.
    """

    place: Path
    manifest: Manifest
    attempts: int
    left_out: tuple[str, ...] = ()

    def as_json(self) -> dict[str, object]:
        """Return the object the `backup` command prints."""
        files = self.manifest.files
        return {
            "backup": str(self.place),
            "made_at": self.manifest.made_at,
            "files": len(files),
            "bytes": sum(file.bytes for file in files),
            "collections": list(self.manifest.collections),
            "left_out": list(self.left_out),
        }


def back_up(store: Store, place: Path, progress: Progress = lambda done, total: None) -> BackupReport:
    """Write a backup of a store to a folder that is not there yet, or to a file that ends with .tar.

    Whatever was acknowledged before this call is in it. progress: called with (bytes copied, bytes in all).

    Raises:
        UsageError: something is at this place already, or its folder is not there.
        CorruptFile: the store is damaged; nothing is left at the place.
        StoreUnavailable: the disk is full, or another backup is being written there.
    """
    with partial_folder(place) as partial:
        tar = place.suffix == ".tar"
        writer: BackupWriter = TarWriter(partial / "backup.tar") if tar else FolderWriter(partial)
        try:
            run = _Backup(store, partial, writer, progress)
            manifest, attempts = run.run()
            finished = writer.finish(manifest.dump())
        finally:
            if isinstance(writer, TarWriter):
                writer.close()
        fault("backup.rename")
        finished.rename(place)
        sync_folder(place.parent)
    return BackupReport(place, manifest, attempts, tuple(run.left_out))


class _Backup:
    """One run: the catalogue, and then its segments, until both fit."""

    def __init__(self, store: Store, folder: Path, writer: BackupWriter, progress: Progress) -> None:
        self._store = store
        self._folder = folder
        self._writer = writer
        self._progress = progress
        self._uploads = folder_of(store.settings)
        self._copied: dict[str, BackupFile] = {}
        self.left_out: list[str] = []

    def run(self) -> tuple[Manifest, int]:
        for attempt in range(1, ATTEMPTS + 1):
            made_at = datetime.now(UTC).isoformat(timespec="seconds")
            working = self._folder / "catalogue.copy"
            for leftover in (working, working.with_name(f"{working.name}-journal")):
                leftover.unlink(missing_ok=True)
            copy_catalogue(self._store.database, working)
            collections, segments = _slimmed(working)
            if not (self._copy(segments) and self._copy_uploads(working)):
                continue
            self._copied[CATALOGUE] = self._writer.add(CATALOGUE, np.memmap(working, np.uint8, mode="r"))
            working.unlink()
            self._copy_plans()
            files = tuple(self._copied.values())
            place = uri_of_path(str(self._uploads))
            return Manifest(made_at, self._store.settings.accept_license, collections, files, place), attempt
        raise StoreUnavailable(f"files were compacted or removed {ATTEMPTS} times during the backup; try again")

    def _copy_plans(self) -> None:
        for name, data in copied_plans(self._store.root):
            if objection_to(name, data) is None:
                self._copied[name] = self._writer.add(name, np.frombuffer(data, np.uint8))
            else:
                self.left_out.append(name)

    def _copy_uploads(self, catalogue: Path) -> bool:
        """Copy the uploads that are not copied yet; return whether none was removed with its last image meanwhile."""
        copied = Database(f"sqlite:///{catalogue}")
        try:
            with copied.reading() as connection:
                names = [name for name in named_uploads(connection, self._uploads) if name not in self._copied]
        finally:
            copied.close()
        missing: list[str] = []
        done = sum(file.bytes for file in self._copied.values())
        total = done + sum(size_of(self._uploads, name) for name in names)
        for name in names:
            try:
                self._copied[name] = self._writer.add(name, upload_bytes(self._uploads, name))
                done += self._copied[name].bytes
            except FileNotFoundError:
                if not name.endswith(SMALL):  # of which nobody can tell whether it was ever kept
                    missing.append(name)
            except CorruptFile:
                missing.append(name)
            self._progress(done, total)
        with self._store.database.reading() as connection:
            if not all(name.endswith(SMALL) or is_named(connection, self._uploads, name) for name in missing):
                return False
        self.left_out += missing
        return True

    def _copy(self, segments: dict[str, tuple[int, str]]) -> bool:
        """Copy the segments that are not copied yet; return whether all of them were still there."""
        total = sum(size for size, _ in segments.values())
        done = sum(size for name, (size, _) in segments.items() if name in self._copied)
        for name, (size, sha256) in segments.items():
            if name in self._copied:
                continue
            try:
                data = self._store.blobs.open(name, size)
            except CorruptFile:
                if self._is_named(name):
                    raise
                return False
            copied = self._writer.add(name, data)
            if copied.sha256 != sha256:
                raise CorruptFile(f"{name} is damaged, so nothing was backed up; `lookalike verify` tells what else is")
            self._copied[name] = copied
            done += size
            self._progress(done, total)
        return True

    def _is_named(self, name: str) -> bool:
        with self._store.database.reading() as connection:
            return connection.execute(select(segment.c.id).where(segment.c.name == name)).first() is not None


def copy_catalogue(database: Database, path: Path) -> None:
    """Write the catalogue, as it is at one moment, as an SQLite file that is not there yet.

    Writers wait while an SQLite catalogue is copied; those of PostgreSQL do not.

    Raises:
        StoreUnavailable: the disk is full, or the database stays locked.
        CorruptFile: the catalogue is damaged.
    """
    fault("backup.catalogue")
    if database.engine.dialect.name == "sqlite":
        _copy_sqlite(database, path)
        return
    target = Database(f"sqlite:///{path}")
    try:
        schema.upgrade(target)
        with database.reading() as source, target.writing() as copy:
            copy_tables(source, copy)
    finally:
        target.close()


def _copy_sqlite(database: Database, path: Path) -> None:
    deadline = time.monotonic() + BUSY_S

    def waiting(_status: int, _remaining: int, _total: int) -> None:
        if time.monotonic() > deadline:
            raise TimeoutError

    try:
        with closing(sqlite3.connect(path)) as target, database.engine.connect() as connection:
            source = connection.connection.driver_connection
            assert isinstance(source, sqlite3.Connection)  # noqa: S101 -- the dialect says so; for the type checker
            # In one step: between two steps a writer would make the copy begin again, for ever under load.
            source.backup(target, pages=-1, progress=waiting, sleep=0.05)
            found = target.execute("PRAGMA quick_check(1)").fetchone()[0]
    except TimeoutError as error:
        raise StoreUnavailable(f"the catalogue was locked for {BUSY_S:.0f} s; try again") from error
    except sqlite3.OperationalError as error:
        raise StoreUnavailable(
            f"cannot copy the catalogue to {path.parent}: {error}; free space or try again"
        ) from error
    except sqlite3.DatabaseError as error:
        raise CorruptFile(f"the catalogue is damaged: {error}; restore the store from an older backup") from error
    if found != "ok":
        raise CorruptFile(f"the catalogue is damaged: {found}; restore the store from an older backup")


def _slimmed(path: Path) -> tuple[tuple[dict[str, object], ...], dict[str, tuple[int, str]]]:
    """Leave out of a copied catalogue what no backup keeps; return its collections, and (bytes, sha256) by segment."""
    database = Database(f"sqlite:///{path}")
    try:
        with database.writing() as connection:
            connection.execute(delete(generation))
            # Compacted segments only serve generations from before.
            used = exists().where(embedding.c.segment_id == segment.c.id)
            connection.execute(delete(segment).where(segment.c.retired_at.is_not(None), ~used))
            images = (
                select(func.count())
                .where(image.c.collection_id == collection.c.id, ~image.c.deleted)
                .correlate(collection)
                .scalar_subquery()
            )
            query = select(collection.c.name, images.label("images"), collection.c.sequence).order_by(collection.c.name)
            collections = tuple(dict(row._mapping) for row in connection.execute(query))
            named = connection.execute(
                select(segment.c.name, segment.c.size_bytes, segment.c.sha256).order_by(segment.c.id)
            )
            segments = {row.name: (row.size_bytes, bytes(row.sha256).hex()) for row in named}
    finally:
        database.close()
    path.with_name(f"{path.name}-journal").unlink(missing_ok=True)
    return collections, segments
