"""The folder that a restore fills: empty at first, then held by a mark until it is a store.

A restore that was killed leaves the mark, and the next one into the same folder clears what lies beside it, and where
the mark says that more lies (`search.moving.claims`).
"""

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from search.blobs.blobs import sync_folder
from search.blobs.segments import FOLDER
from search.errors import GuardRefused, StoreUnavailable, UsageError
from search.moving.catalogue_file import clear
from search.moving.claims import Mark, found_mark, new_word, note_catalogue
from search.plans.plan_files import FOLDER as PLANS
from search.settings import CATALOGUE_FILE, FILE
from search.storing.uploads import FOLDER as UPLOADS

MARK = ".restoring"  # lies in a folder while it is being restored into
LOST = "lost+found"  # lies in a file system of its own


@dataclass(slots=True)
class Hold:
    """A folder that is being restored into. mark: its open mark. word: in the mark. cleared: nothing else is there.

    keep: a run that fails leaves the mark to the next one, because there may be a database that only this word can
    empty, or a file that only this mark names.
    """

    root: Path
    mark: int
    word: str
    keep: bool = False
    cleared: bool = False

    def clear(self) -> None:
        """Remove what an unfinished restore left in the folder."""
        self.cleared = True
        for folder in (FOLDER, PLANS, UPLOADS):
            shutil.rmtree(self.root / folder, ignore_errors=True)
        clear(self.root / CATALOGUE_FILE, self.word)
        for partial in self.root.glob(f"{FILE}.*.partial"):
            partial.unlink(missing_ok=True)

    def note(self, catalogue: Path) -> None:
        """Say in the mark where an SQLite catalogue shall lie, before anything is made there.

        Raises:
            StoreUnavailable: the disk is full.
        """
        try:
            note_catalogue(self.mark, catalogue)
        except OSError as error:
            raise cannot_write(catalogue, error) from error


@contextmanager
def held(root: Path) -> Iterator[Hold]:
    """Hold an empty folder, with a mark in it that says so until the store is whole.

    What a killed restore left in the folder stays until `Hold.clear`: somebody may have made a store of it.

    Raises:
        GuardRefused: the folder is not empty.
        StoreUnavailable: another restore is at work there, or the disk is full.
    """
    with _locked(root) as lock:
        if (root / FILE).exists():
            (root / MARK).unlink()
            raise GuardRefused(f"{root} holds a store, so nothing was restored; name an empty or a new folder")
        found = found_mark(lock)
        if found is None and {path.name for path in root.iterdir()} - {MARK, LOST}:
            raise _not_empty(root)
        hold = Hold(root, lock, "" if found is None else found.word, keep=found is not None)
        try:
            if found is None:
                hold.word = _marked(root, lock)
            else:
                _clear_elsewhere(found)
            yield hold
        finally:
            if hold.cleared and not (root / FILE).exists():
                hold.clear()
            if not hold.keep or (root / FILE).exists():
                (root / MARK).unlink(missing_ok=True)
            sync_folder(root)


@contextmanager
def _locked(root: Path) -> Iterator[int]:
    """Lock the mark of an empty folder, or of one that a killed restore left; give its descriptor."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        present = {path.name for path in root.iterdir()}
        if MARK not in present and present - {LOST}:
            raise _not_empty(root)
        lock = os.open(root / MARK, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise UsageError(f"cannot write in {root}: {error.strerror}; choose another place") from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not os.path.samestat((root / MARK).stat(), os.fstat(lock)):
                raise OSError(errno.ESTALE, "its mark has just been replaced")
        except OSError as error:
            raise StoreUnavailable(f"another restore is at work in {root}; try again") from error
        yield lock
    finally:
        os.close(lock)


def _marked(root: Path, mark: int) -> str:
    try:
        word = new_word(mark)
        sync_folder(root)
    except OSError as error:
        raise cannot_write(root, error) from error
    return word


def _clear_elsewhere(found: Mark) -> None:
    """Remove what a killed restore left where its mark says."""
    if found.catalogue is None:
        return
    try:
        clear(found.catalogue, found.word)
    except OSError as error:
        raise cannot_write(found.catalogue, error) from error


def _not_empty(root: Path) -> GuardRefused:
    return GuardRefused(f"{root} is not empty, so nothing was restored; name an empty or a new folder")


def cannot_write(path: Path, error: OSError) -> StoreUnavailable:
    """Return what to tell of a disk that refuses."""
    return StoreUnavailable(f"cannot write {path}: {error.strerror or error}; free space, then run again")
