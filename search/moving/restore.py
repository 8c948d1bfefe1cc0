"""Job: make a store of a backup, in an empty place.

Every byte is checked on its way. Segments come first, under fresh names; then the catalogue, at once; then store.toml,
which makes the folder a store. A restore that was killed leaves no store, and the next one into the same folder
clears what it left, also in a PostgreSQL database (`search.moving.claims`), and begins again.
Search indexes are built anew: what FAISS reads was always written here, never by who supplied the backup.
"""

import logging
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, select, update

from search.blobs.blobs import sync_folder
from search.blobs.segments import FOLDER, SUFFIX
from search.database import schema
from search.database.database import Database
from search.database.tables import segment
from search.errors import CorruptFile, GuardRefused, LookalikeError, UsageError
from search.faults import fault
from search.finding.generations import Generations
from search.moving.backup_files import CATALOGUE, NAME, BackupReader, Manifest, open_backup
from search.moving.claims import claim, free_own, is_claimed, settle
from search.moving.restore_folder import WORKING, Hold, cannot_write, held
from search.moving.table_copy import copy_tables, is_empty
from search.settings import FILE, StoreSettings, new_settings, publish_settings
from search.storing.store import Store, blobs_of

log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class RestoreReport:
    """What was restored. bytes: of all files read; unpublished: why no search index could be built, None when all are.

    Without an index everything is searched from the segments.
    """

    root: Path
    manifest: Manifest
    bytes: int
    unpublished: str | None

    def as_json(self) -> dict[str, object]:
        """Return the object the `restore` command prints."""
        return {
            "store": str(self.root),
            "made_at": self.manifest.made_at,
            "bytes": self.bytes,
            "collections": list(self.manifest.collections),
            "index_error": self.unpublished,
        }


def restore(
    backup: Path,
    root: Path,
    *,
    catalogue: str | None = None,
    blobs: str | None = None,
    progress: Progress = lambda done, total: None,
) -> RestoreReport:
    """Make a store in `root`, which is empty or not there, of a backup.

    catalogue, blobs: as for a new store; the backup may come from another kind of database. progress: called with
    (bytes restored, bytes in all).

    Raises:
        UsageError: there is no backup, or a setting cannot be used.
        GuardRefused: the folder or the database is not empty; nothing was changed.
        CorruptFile: the backup is damaged; nothing is left in the folder.
        StoreTooNew: a newer release wrote the backup.
        StoreUnavailable: the disk is full, or the database does not answer.
    """
    with open_backup(backup) as opened, held(root) as hold:
        settings, text = new_settings(root, catalogue, blobs, opened.manifest.accept_license)
        _require_empty_catalogue(settings, hold.word)
        run = _Restore(opened, settings, hold, progress)
        try:
            run.restore()
            fault("restore.announce")
            publish_settings(root, text)
        except OSError as error:
            run.take_back()
            raise cannot_write(root, error) from error
        except BaseException:
            run.take_back()
            raise
        run.settle()
    with Store(root) as store:
        unpublished = _publish(store)
    return RestoreReport(root, opened.manifest, run.bytes, unpublished)


class _Restore:
    """One run, from the backup's catalogue to the store's."""

    def __init__(self, backup: BackupReader, settings: StoreSettings, hold: Hold, progress: Progress) -> None:
        self._backup = backup
        self._settings = settings
        self._hold = hold
        self._blobs = blobs_of(settings)
        self._file = _sqlite_file(settings)
        # Beside its place, so that one rename brings it there.
        self._working = (self._file.parent if self._file is not None else settings.root) / WORKING
        self._written: list[str] = []
        self._progress = progress
        self.bytes = 0

    def restore(self) -> None:
        self._fetch_catalogue()
        database = Database(f"sqlite:///{self._working}")
        try:
            schema.upgrade(database)
            self._restore_segments(database)
            if self._file is None:
                self._load(database)
        finally:
            database.close()
        fault("restore.catalogue")
        if self._file is not None:
            self._forget_journal()
            # Of a database that was here once, SQLite would roll it into the new one.
            self._file.with_name(f"{self._file.name}-journal").unlink(missing_ok=True)
            self._working.rename(self._file)
            sync_folder(self._file.parent)
        else:
            self._working.unlink()
            self._forget_journal()

    def take_back(self) -> None:
        """Remove what was written, also outside of the folder, unless it has become a store."""
        if (self._settings.root / FILE).exists():
            return
        self._working.unlink(missing_ok=True)
        self._forget_journal()
        # As a sweep that knows everything but these.
        self._blobs.sweep(FOLDER, frozenset(self._blobs.names(FOLDER)) - frozenset(self._written), -1.0)
        if self._file is not None:
            self._file.unlink(missing_ok=True)
        else:
            self._free_database()

    def _free_database(self) -> None:
        try:
            _require_empty_catalogue(self._settings, self._hold.word)
        except LookalikeError as error:
            # What stopped the restore is told by who called; with its mark, the next one can do this.
            log.warning("the catalogue could not be emptied again (%s); run the same restore once more", error)
            self._hold.keep = True

    def settle(self) -> None:
        """Say in the database that it belongs to a store now; killed before, nobody takes it for half-done work."""
        if self._file is not None:
            return
        database = Database(self._settings.catalogue)
        try:
            with database.writing() as connection:
                fault("restore.settle")
                settle(connection)
        finally:
            database.close()

    def _forget_journal(self) -> None:
        self._working.with_name(f"{WORKING}-journal").unlink(missing_ok=True)

    def _fetch_catalogue(self) -> None:
        try:
            with self._working.open("xb") as file:
                for piece in self._backup.pieces(CATALOGUE):
                    file.write(piece)
                file.flush()
                os.fsync(file.fileno())
            with closing(sqlite3.connect(self._working)) as connection:
                _refuse_foreign(connection)
        except sqlite3.DatabaseError as error:
            raise CorruptFile(f"the catalogue of the backup is damaged: {error}; use another backup") from error
        except OSError as error:
            raise cannot_write(self._working, error) from error

    def _restore_segments(self, database: Database) -> None:
        columns = (segment.c.id, segment.c.name, segment.c.size_bytes, segment.c.sha256)
        with database.reading() as connection:
            rows = connection.execute(select(*columns).order_by(segment.c.id)).all()
        total = sum(row.size_bytes for row in rows)
        names: list[tuple[int, str]] = []
        for row in rows:
            known = self._backup.file(row.name) if NAME.fullmatch(row.name) else None
            if known is None or (known.bytes, known.sha256) != (row.size_bytes, bytes(row.sha256).hex()):
                raise CorruptFile(f"catalogue and manifest of the backup disagree on {row.name!r}; use another backup")
            fault("restore.file")
            names.append((row.id, self._blobs.write(FOLDER, SUFFIX, self._backup.pieces(row.name), point="segment")))
            self._written.append(names[-1][1])
            self.bytes += row.size_bytes
            self._progress(self.bytes, total)
        with database.writing() as connection:
            for segment_id, name in names:
                connection.execute(update(segment).where(segment.c.id == segment_id).values(name=name))

    def _load(self, copied: Database) -> None:
        database = Database(self._settings.catalogue)
        try:
            schema.upgrade(database)
            with copied.reading() as source, database.writing() as target:
                if not is_empty(target):
                    raise _not_empty(target)
                copy_tables(source, target)
                claim(target, self._hold.word)
        finally:
            database.close()


def _require_empty_catalogue(settings: StoreSettings, word: str) -> None:
    """Refuse a catalogue that holds anything but what a killed restore into the same folder left, which is cleared."""
    file = _sqlite_file(settings)
    if file is not None:
        if file.exists() and file.stat().st_size:
            raise GuardRefused(f"the catalogue {file} exists, so nothing was restored; name another")
        if not file.parent.is_dir():
            raise UsageError(f"{file.parent} is no folder; make it first")
        return
    database = Database(settings.catalogue)
    try:
        with database.writing() as connection:
            if not free_own(connection, word):
                raise _not_empty(connection)
    finally:
        database.close()


def _not_empty(connection: Connection) -> GuardRefused:
    place = connection.engine.url.render_as_string(hide_password=True)
    begun = ", or run the restore that was killed there again, into its own folder" if is_claimed(connection) else ""
    return GuardRefused(f"the catalogue {place} is not empty, so nothing was restored; name an empty database{begun}")


def _sqlite_file(settings: StoreSettings) -> Path | None:
    if not settings.catalogue.startswith("sqlite:///"):
        return None
    return Path(settings.catalogue.removeprefix("sqlite:///"))


def _refuse_foreign(connection: sqlite3.Connection) -> None:
    """Raises:
    CorruptFile: the database holds what no catalogue of ours has, such as a trigger.
    """
    kinds = connection.execute("SELECT type, name FROM sqlite_master WHERE type NOT IN ('table', 'index')").fetchone()
    if kinds is not None:
        raise CorruptFile(f"the catalogue of the backup has a {kinds[0]} {kinds[1]!r}; do not use this backup")


def _publish(store: Store) -> str | None:
    """Build the search index of every collection; return why that failed, if it did: the store is whole without."""
    for target in store.catalogue.collections():
        try:
            Generations(store.database, store.blobs, target).publish(target.sequence)
        except LookalikeError as error:
            return str(error)
    return None
