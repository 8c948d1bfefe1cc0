"""Where plans lie: `plans/ID.json` in the store's folder, never changed, and beside each the journal of what was done.

One lock for all of them: two that move files at once could each rely on what the other takes away.
"""

import errno
import fcntl
import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from search.blobs.blobs import sync_folder
from search.errors import StoreUnavailable, UsageError
from search.faults import fault
from search.plans.plan import Plan, parsed

FOLDER: Final = "plans"
LOCK: Final = ".lock"
PLAN, JOURNAL = ".json", ".journal"
ID: Final = re.compile(r"\d{8}-[0-9a-f]{8}")
# Plans that expired this long ago, and of which nothing was done, go when another is written.
STALE_S: Final = 30 * 86_400


class PlanFiles:
    """The plans of one store."""

    def __init__(self, root: Path) -> None:
        """root: the store's folder."""
        self.folder = root / FOLDER

    def path(self, plan_id: str) -> Path:
        """Return where a plan lies."""
        return self.folder / f"{plan_id}{PLAN}"

    def journal(self, plan_id: str) -> Path:
        """Return where the journal of a plan lies, once something was done by it."""
        return self.folder / f"{plan_id}{JOURNAL}"

    def journalled(self) -> list[str]:
        """Return the ids of the plans by which something was done, oldest first."""
        return sorted(path.stem for path in self.folder.glob(f"*{JOURNAL}") if ID.fullmatch(path.stem))

    def save(self, plan: Plan) -> Path:
        """Write a plan durably, read-only, and return its place.

        Raises:
            StoreUnavailable: the disk is full or refuses the write; there is no plan.
        """
        path = self.path(plan.id)
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        try:
            self.folder.mkdir(exist_ok=True)
            self._write(partial, json.dumps(plan.as_json(), indent=1, ensure_ascii=True, allow_nan=False).encode())
            fault("plan.rename")
            partial.rename(path)
            sync_folder(self.folder)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise StoreUnavailable(
                f"cannot write the plan {path}: {error.strerror}; free space or try again"
            ) from error
        self._drop_stale()
        return path

    def load(self, name: str) -> Plan:
        """Return a plan by its id or by the path of its file.

        Raises:
            UsageError: there is no such plan, or it is none.
            GuardRefused: it was edited.
        """
        path = self._place(name)
        try:
            return parsed(path.read_bytes(), str(path))
        except OSError as error:
            raise UsageError(f"cannot read the plan {path}: {error.strerror}") from error

    def id_of(self, name: str) -> str:
        """Return the id of a plan by its id or by the path of its file, which may be damaged or gone by now.

        Raises:
            UsageError: nothing was ever done by such a plan, and there is none.
        """
        plan_id = Path(name).stem if name.endswith(PLAN) else name
        if ID.fullmatch(plan_id) and (self.journal(plan_id).exists() or self.path(plan_id).exists()):
            return plan_id
        return self.load(name).id

    def _place(self, name: str) -> Path:
        if ID.fullmatch(name):
            path = self.path(name)
            if not path.exists():
                raise UsageError(f"there is no plan {name} in {self.folder}; `dedup` writes one")
            return path
        path = Path(name).expanduser()
        if not path.is_file():
            raise UsageError(f"{name!r} is neither the id nor the file of a plan; `dedup` writes one")
        return path

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the one lock of everything that moves files by a plan.

        Raises:
            StoreUnavailable: another command holds it, or the folder cannot be written.
        """
        try:
            self.folder.mkdir(exist_ok=True)
            handle = os.open(self.folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreUnavailable(f"cannot write in {self.folder}: {error.strerror}") from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(handle)
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise StoreUnavailable(f"cannot lock {self.folder}: {error.strerror}") from error
            raise StoreUnavailable("another apply, undo or purge of this store is running; wait for its end") from error
        try:
            yield
        finally:
            os.close(handle)

    def _write(self, partial: Path, data: bytes) -> None:
        handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o400)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            fault("plan.write", handle)
            os.fsync(handle)
            if os.fstat(handle).st_size != len(data):
                raise OSError(errno.EIO, "the disk lost its end")

    def _drop_stale(self) -> None:
        """Remove plans that nobody used and nobody can use any more; what they said is found again by `dedup`."""
        for path in self.folder.glob(f"*{PLAN}"):
            unused = ID.fullmatch(path.stem) and not self.journal(path.stem).exists()
            if unused and path.stat().st_mtime < time.time() - STALE_S and self._expired(path):
                path.unlink(missing_ok=True)

    def _expired(self, path: Path) -> bool:
        try:
            return parsed(path.read_bytes(), str(path)).expires_at < time.time() - STALE_S
        except UsageError:
            return False  # not ours
