"""Job: make a store of a backup, in an empty place.

Every byte is checked on its way. Segments come first, under fresh names, uploads and plans; then the catalogue, at
once; then store.toml, which makes the folder a store. A restore that was killed leaves no store, and the next one into
the same folder clears what it left, also in a PostgreSQL database or beside an SQLite catalogue elsewhere
(`search.moving.claims`), and begins again.
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

from search.blobs.segments import FOLDER, SUFFIX
from search.database import schema
from search.database.claims import claim, is_claimed, settle
from search.database.database import Database
from search.database.tables import segment
from search.errors import CorruptFile, GuardRefused, LookalikeError, UsageError
from search.faults import fault
from search.finding.generations import Generations
from search.local.published import LocalIndexes
from search.moving import upload_copies as uploads
from search.moving.backup_files import CATALOGUE, NAME, BackupReader, Manifest, open_backup
from search.moving.catalogue_file import clear, put, require_free, working_file
from search.moving.claims import free_own
from search.moving.plan_copies import COPIED, objection_to, put_plan
from search.moving.restore_folder import Hold, cannot_write, held
from search.moving.table_copy import copy_tables, is_empty
from search.settings import CATALOGUE_FILE, FILE, StoreSettings, new_settings, publish_settings
from search.storing.store import Store, blobs_of
from search.storing.uploads import folder_of

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
        hold.clear()
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
        # Without a file, what travels on to the database lies where one would.
        self._place = settings.root / CATALOGUE_FILE if self._file is None else self._file
        self._working = working_file(self._place, hold.word)
        self._written: list[str] = []
        self._uploads = folder_of(settings)
        self._uploaded: list[Path] = []
        self._progress = progress
        self._total = sum(file.bytes for file in backup.manifest.files if file.name != CATALOGUE)
        self.bytes = 0

    def restore(self) -> None:
        if self._file is not None:
            self._hold.note(self._file)
        self._fetch_catalogue()
        database = Database(f"sqlite:///{self._working}")
        try:
            schema.upgrade(database)
            self._restore_segments(database)
            self._restore_uploads(database)
            self._restore_plans()
            if self._file is None:
                self._load(database)
            else:
                with database.writing() as connection:
                    claim(connection, self._hold.word)
        finally:
            database.close()
        fault("restore.catalogue")
        if self._file is None:
            clear(self._place, self._hold.word)
        else:
            self._put(self._file)

    def _put(self, catalogue: Path) -> None:
        try:
            put(self._working, catalogue)
        except OSError as error:
            raise cannot_write(catalogue, error) from error

    def take_back(self) -> None:
        """Remove what this run wrote outside of the folder, unless it has become a store."""
        if (self._settings.root / FILE).exists():
            return
        # As a sweep that knows everything but these.
        self._blobs.sweep(FOLDER, frozenset(self._blobs.names(FOLDER)) - frozenset(self._written), -1.0)
        try:
            for path in self._uploaded:
                path.unlink(missing_ok=True)
            clear(self._place, self._hold.word)
        except OSError as error:
            self._leave(error)
        if self._file is None:
            self._free_database()

    def _leave(self, error: Exception) -> None:
        """Keep the mark: what stopped the restore is told by who called, and with the mark the next one can do this."""
        log.warning("what was restored could not be removed again (%s); run the same restore once more", error)
        self._hold.keep = True

    def _free_database(self) -> None:
        try:
            _require_empty_catalogue(self._settings, self._hold.word)
        except LookalikeError as error:
            self._leave(error)

    def settle(self) -> None:
        """Take the claim off; killed before, the first who opens the store does it."""
        database = Database(self._settings.catalogue)
        try:
            fault("restore.settle")
            settle(database)
        finally:
            database.close()

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
        names: list[tuple[int, str]] = []
        for row in rows:
            known = self._backup.file(row.name) if NAME.fullmatch(row.name) else None
            if known is None or (known.bytes, known.sha256) != (row.size_bytes, bytes(row.sha256).hex()):
                raise CorruptFile(f"catalogue and manifest of the backup disagree on {row.name!r}; use another backup")
            fault("restore.file")
            names.append((row.id, self._blobs.write(FOLDER, SUFFIX, self._backup.pieces(row.name), point="segment")))
            self._written.append(names[-1][1])
            self._advance(row.size_bytes)
        with database.writing() as connection:
            for segment_id, name in names:
                connection.execute(update(segment).where(segment.c.id == segment_id).values(name=name))

    def _restore_uploads(self, database: Database) -> None:
        before = self._backup.manifest.uploads
        for file in (one for one in self._backup.manifest.files if uploads.COPIED.fullmatch(one.name)):
            fault("restore.file")
            self._uploaded.append(uploads.put_upload(self._uploads, file.name, self._backup.pieces(file.name)))
            self._advance(file.bytes)
        if self._uploaded:
            uploads.sync_uploads(self._uploads)
        if before is not None:
            with database.writing() as connection:
                uploads.lead_to(connection, before, self._uploads)

    def _advance(self, size: int) -> None:
        self.bytes += size
        self._progress(self.bytes, self._total)

    def _restore_plans(self) -> None:
        for name in (file.name for file in self._backup.manifest.files if COPIED.fullmatch(file.name)):
            data = b"".join(self._backup.pieces(name))
            objection = objection_to(name, data)
            if objection is not None:
                raise CorruptFile(
                    f"{name} of the backup is not what `apply` writes: {objection}; do not use this backup"
                )
            put_plan(self._settings.root, name, data)
            self._advance(len(data))

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
        if not file.parent.is_dir():
            raise UsageError(f"{file.parent} is no folder; make it first")
        try:
            clear(file, word)
            require_free(file)
        except OSError as error:
            raise cannot_write(file, error) from error
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
    # Absolute, as a mark that names it may be read from another folder.
    return Path(settings.catalogue.removeprefix("sqlite:///")).absolute()


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
            LocalIndexes(store.database, store.blobs, target).publish()
        except LookalikeError as error:
            return str(error)
    return None
