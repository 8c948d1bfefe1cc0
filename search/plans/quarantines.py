"""Whether the quarantine of a root can be used, and its file system can do what is asked for: tried, not guessed.

A real run makes the quarantine and tries in it. A dry run leaves no trace: it looks, and clones a file without a name.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from search.plans import acting
from search.plans.disk import LAST, LINK_MET, REFUSED, Mismatch, open_folder
from search.plans.history import Action
from search.plans.places import QUARANTINE, made_folder, remove_empty
from search.plans.renaming import exchange, rename_to_free

PROBES: Final = (".probe-1", ".probe-2")
NOT_THERE: Final = "is not there; mount it, or run `dedup` again"
UNTRIED: Final = "whether its file system knows reflinks (clones) shows when they are made"
_LINK: Final = "cannot be used: a symbolic link or a file is in its place"
_CLOSED: Final = "cannot be used: it is read-only, or closed to this user"
_NO_LINKS: Final = "cannot be used: its file system knows no {}; the action quarantine works everywhere"
_NO_EXCHANGE: Final = f"cannot be used: {acting.NO_EXCHANGE}"
_OVERWRITES: Final = "cannot be used: its file system can bring nothing back without overwriting what is there"
_WORDS: Final[dict[Action, str]] = {"hardlink": "hard links", "reflink": "reflinks (clones)"}
_OF_THE_DISK: Final = (errno.ENOSPC, errno.EDQUOT, errno.EIO)


def prepare(action: Action, root: Path, plan_id: str) -> Path:
    """Make the quarantine of a root, try there whether its file system can do what is asked for, and return its place.

    Raises:
        Mismatch: it cannot be used; nothing is left of it.
        OSError: a disk is full, or does not answer.
    """
    place = root / QUARANTINE / plan_id
    if not root.is_dir():
        raise Mismatch(root, NOT_THERE)
    try:
        with made_folder(place, root) as folder:
            _try(action, folder, root)
    except (OSError, Mismatch) as error:
        remove_empty(root, plan_id)
        raise _as_said(error, root) from error
    return place


def inspect(action: Action, root: Path, plan_id: str) -> str | None:
    """Find out what `prepare` would, and change nothing; return what there is to say where that cannot be known.

    Raises:
        Mismatch: the quarantine could not be used.
        OSError: a disk is full, or does not answer.
    """
    if not root.is_dir():
        raise Mismatch(root, NOT_THERE)
    try:
        folder = _deepest(root, plan_id)
        try:
            if not os.access(".", os.W_OK | os.X_OK, dir_fd=folder, effective_ids=True):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            return _tried_unnamed(folder, root) if action == "reflink" else None
        finally:
            os.close(folder)
    except (OSError, Mismatch) as error:
        raise _as_said(error, root) from error


def _deepest(root: Path, plan_id: str) -> int:
    """Return a descriptor of the quarantine of a plan, or of the last folder on the way to it that is there."""
    handle = open_folder(root)
    device = os.fstat(handle).st_dev
    for name in (QUARANTINE, plan_id):
        try:
            below = os.open(name, LAST, dir_fd=handle)
        except FileNotFoundError:
            break
        except OSError:
            os.close(handle)
            raise
        os.close(handle)
        handle = below
        if os.fstat(handle).st_dev != device:
            os.close(handle)
            raise Mismatch(root / QUARANTINE, "cannot be used: another file system is mounted there")
    return handle


def _as_said(error: OSError | Mismatch, root: Path) -> OSError | Mismatch:
    """Return what keeps one root from being used as a Mismatch; what is wrong with a disk stays an OSError."""
    place = root / QUARANTINE
    if isinstance(error, Mismatch):
        return error
    if error.errno in LINK_MET:
        return Mismatch(place, _LINK)
    if error.errno in REFUSED:
        return Mismatch(place, _CLOSED)
    return OSError(error.errno, error.strerror or str(error), os.fspath(place))


def _try(action: Action, folder: int, root: Path) -> None:
    """Raises:
    Mismatch: the file system cannot do what is asked for, or cannot do it without overwriting.
    """
    first, second = PROBES
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
    try:
        with _closing(os.open(first, flags, 0o600, dir_fd=folder)) as one:
            if action == "quarantine":
                with _unable(root, _OVERWRITES):
                    rename_to_free(first, folder, second, folder)
                return
            with _unable(root, _NO_LINKS.format(_WORDS[action])):
                if action == "hardlink":
                    os.link(first, second, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
                else:
                    _clone_as(second, flags, one, folder)
            with _unable(root, _NO_EXCHANGE):
                exchange(first, folder, second, folder)
    finally:
        for name in PROBES:
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=folder)


def _clone_as(name: str, flags: int, source: int, folder: int) -> None:
    with _closing(os.open(name, flags, 0o600, dir_fd=folder)) as other:
        acting.clone(source, other)


def _tried_unnamed(folder: int, root: Path) -> str | None:
    """Clone a file that never has a name; return what to say where the system knows none of those."""
    flag = getattr(os, "O_TMPFILE", None)
    try:
        if flag is None:
            return UNTRIED
        one = os.open(".", flag | os.O_RDWR | os.O_CLOEXEC, 0o600, dir_fd=folder)
    except OSError as error:
        if error.errno in _OF_THE_DISK:
            raise
        return UNTRIED
    with _closing(one):
        other = os.open(".", flag | os.O_RDWR | os.O_CLOEXEC, 0o600, dir_fd=folder)
        with _closing(other), _unable(root, _NO_LINKS.format(_WORDS["reflink"])):
            acting.clone(one, other)
    return None


@contextmanager
def _unable(root: Path, why: str) -> Iterator[None]:
    """Turn what a file system says that cannot do something into a Mismatch; what it says of its disk stays."""
    try:
        yield
    except OSError as error:
        if error.errno in _OF_THE_DISK:
            raise
        raise Mismatch(root / QUARANTINE, why) from error


@contextmanager
def _closing(handle: int) -> Iterator[int]:
    try:
        yield handle
    finally:
        os.close(handle)
