"""The SQLite file that a restore makes: first under a name of its own beside its place, then there, at once.

The folder may be one that others use too, even for another restore, so that nothing is removed but what has this
run's word: in its name, or as the claim in it.
"""

import fcntl
import os
from pathlib import Path

from search.blobs.blobs import sync_folder
from search.database.claims import is_claimed_file
from search.errors import GuardRefused


def working_file(catalogue: Path, word: str) -> Path:
    """Return where the restore with this word makes what becomes a catalogue: beside it, for one rename."""
    return catalogue.with_name(f".restoring-{word}.sqlite")


def clear(catalogue: Path, word: str) -> None:
    """Remove what the restore with this word left: its working file, and the catalogue if nobody has used it yet.

    Raises:
        OSError: the folder cannot be written.
    """
    for file in (working_file(catalogue, word), *([catalogue] if is_claimed_file(catalogue, word) else [])):
        file.unlink(missing_ok=True)
        journal_of(file).unlink(missing_ok=True)


def require_free(catalogue: Path) -> None:
    """Raises:
    GuardRefused: there is something at this place already.
    """
    if catalogue.exists() and catalogue.stat().st_size:
        raise GuardRefused(f"the catalogue {catalogue} exists, so nothing was restored; name another")


def put(working: Path, catalogue: Path) -> None:
    """Bring a finished working file to its place, where nothing is.

    Raises:
        GuardRefused: something is there, such as what another restore made meanwhile.
        OSError: the folder cannot be written.
    """
    folder = os.open(catalogue.parent, os.O_RDONLY)
    try:
        # Of two restores that come to one place, the second finds what the first put there.
        fcntl.flock(folder, fcntl.LOCK_EX)
        require_free(catalogue)
        journal_of(working).unlink(missing_ok=True)
        # Of a database that was here once, SQLite would roll it into the new one.
        journal_of(catalogue).unlink(missing_ok=True)
        working.rename(catalogue)
    finally:
        os.close(folder)
    sync_folder(catalogue.parent)


def journal_of(file: Path) -> Path:
    """Return where SQLite keeps the rollback journal of a file."""
    return file.with_name(f"{file.name}-journal")
