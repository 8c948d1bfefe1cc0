"""The folder that a restore fills: empty at first, then held by a mark until it is a store.

A restore that was killed leaves the mark, and the next one into the same folder clears what lies beside it. The mark
keeps a word that tells our own half-done work in a database from a stranger's (`search.moving.claims`).
"""

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
from search.moving.claims import found_word, new_word
from search.settings import CATALOGUE_FILE, FILE

MARK = ".restoring"  # lies in a folder while it is being restored into
WORKING = ".restoring.sqlite"


@dataclass(slots=True)
class Hold:
    """A folder that is being restored into. word: in its mark. keep: a run that fails leaves the mark to the next one,

    because there may be a database that only this word can empty.
    """

    word: str
    keep: bool = False


@contextmanager
def held(root: Path) -> Iterator[Hold]:
    """Hold an empty folder, with a mark in it that says so until the store is whole.

    Raises:
        GuardRefused: the folder is not empty.
        StoreUnavailable: another restore is at work there, or the disk is full.
    """
    with _locked(root) as lock:
        if (root / FILE).exists():
            (root / MARK).unlink()
            raise GuardRefused(f"{root} holds a store, so nothing was restored; name an empty or a new folder")
        word = found_word(lock)
        hold = Hold(word or "", keep=word is not None)
        try:
            _clear_leftovers(root)
            hold.word = word or _marked(root, lock)
            yield hold
        finally:
            if not (root / FILE).exists():
                _clear_leftovers(root)
            if not hold.keep or (root / FILE).exists():
                (root / MARK).unlink(missing_ok=True)
            sync_folder(root)


@contextmanager
def _locked(root: Path) -> Iterator[int]:
    """Lock the mark of an empty folder, or of one that a killed restore left; give its descriptor."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        present = {path.name for path in root.iterdir()}
        if MARK not in present and present - {"lost+found"}:
            raise GuardRefused(f"{root} is not empty, so nothing was restored; name an empty or a new folder")
        lock = os.open(root / MARK, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise UsageError(f"cannot write in {root}: {error.strerror}; choose another place") from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
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


def _clear_leftovers(root: Path) -> None:
    """Remove what an unfinished restore left in its folder."""
    shutil.rmtree(root / FOLDER, ignore_errors=True)
    for name in (CATALOGUE_FILE, f"{CATALOGUE_FILE}-journal", WORKING, f"{WORKING}-journal"):
        (root / name).unlink(missing_ok=True)


def cannot_write(path: Path, error: OSError) -> StoreUnavailable:
    """Return what to tell of a disk that refuses."""
    return StoreUnavailable(f"cannot write {path}: {error.strerror or error}; free space, then run again")
