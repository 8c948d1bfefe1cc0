"""Commits of pictures that come one by one, from many threads: whoever waits meanwhile is committed together.

A commit costs two syncs of the disk, whatever is in it. While one is under way, what comes waits, and the next thread
takes all of it along. What must not be there twice is asked once more under the same lock, right before the commit.
"""

import fcntl
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, NamedTuple

from indexer.jobs.outcomes import Counts
from indexer.jobs.pending import Pending
from search.errors import StoreUnavailable
from search.records import Collection, Embeddings
from search.storing.commits import MAX_BATCH_ROWS, Committer
from search.storing.image_rows import NewImage
from search.storing.store import Store

ROWS_OF_ONE: Final = 5  # an embedding and its regions, at most
# added: the image is new. replaced: it is what an image of its key has become. key_taken: another image has its key.
# copy: an image holds the same file.
Committed = Literal["added", "replaced", "key_taken", "copy"]


class Replaced(NamedTuple):
    """What an image was before: the uri of its file, and the sha256 of its content."""

    uri: str
    sha256: bytes


@dataclass(slots=True)
class Part:
    """One image to commit. embedding: (D,) of a fresh content. regions: (4, D) that its content lacks.

    new_key: only if no image has its key. new_content: only if no image of the collection holds its file (sha256).
    before: what the image of its key was right before, once it has replaced that.
    """

    image: NewImage
    sha256: bytes
    embedding: Embeddings | None = None
    regions: Embeddings | None = None
    new_key: bool = True
    new_content: bool = False
    before: Replaced | None = None
    outcome: Committed | None = None
    error: BaseException | None = None
    done: threading.Event = field(default_factory=threading.Event)


class GroupCommits:
    """Commits parts into one collection. Thread-safe; several processes may do the same."""

    def __init__(self, store: Store, target: Collection, committed: Callable[[int], None]) -> None:
        """committed: called with the number of images after each commit."""
        self._store = store
        self._target = target
        self._committer = Committer(store.database, store.blobs, target, job=None)
        self._committed = committed
        self._waiting: list[Part] = []
        self._guard = threading.Lock()  # of what waits
        self._committing = threading.Lock()
        self._file = store.root / f".ingest-{target.id}.lock"

    def commit(self, part: Part) -> Committed:
        """Return what became of a part, durable and visible to every search by then.

        Raises:
            LookalikeError: by name, why nothing was committed.
        """
        with self._guard:
            self._waiting.append(part)
        with self._committing:
            if not part.done.is_set():
                self._commit_waiting()
        if part.error is not None:
            raise part.error
        assert part.outcome is not None  # noqa: S101 -- it is done
        return part.outcome

    def _commit_waiting(self) -> None:
        with self._guard:
            most = MAX_BATCH_ROWS // ROWS_OF_ONE
            parts, self._waiting = self._waiting[:most], self._waiting[most:]
        try:
            with machine_lock(self._file):
                self._commit(self._settled(parts))
        except BaseException as error:  # noqa: BLE001 -- each of those who wait raises it again
            for part in parts:
                part.error = error
        for part in parts:
            part.done.set()

    def _settled(self, parts: Sequence[Part]) -> list[Part]:
        """Return the parts that may be committed; the others have their outcome."""
        catalogue, target = self._store.catalogue, self._target
        taken = catalogue.known_keys(target.id, [part.image.key for part in parts])
        over = {taken[part.image.key] for part in parts if not part.new_key and part.image.key in taken}
        records = catalogue.images_by_id(target.id, over)
        now = {one.key: Replaced(one.uri, one.sha256) for one in records.values()}
        wanted = {part.sha256 for part in parts if part.new_content}
        held = {one for one in wanted if catalogue.ids_of_contents(target.id, [one])}
        settled = []
        for part in parts:
            key = part.image.key
            if part.new_key and (key in taken or key in now):
                part.outcome = "key_taken"
            elif part.new_content and part.sha256 in held:
                part.outcome = "copy"
            else:
                part.before = now.get(key)
                part.outcome = "added" if part.before is None else "replaced"
                settled.append(part)
                now[key] = Replaced(part.image.uri, part.sha256)
                held.add(part.sha256)
        return settled

    def _commit(self, parts: Sequence[Part]) -> None:
        pending = Pending(self._target.space.dims)
        for part in parts:
            if part.embedding is None:
                pending.add_known(part.image)
            else:
                pending.add_new(part.image, part.embedding)
            if part.regions is not None:
                pending.add_regions(part.image.content, part.regions)
        if not pending.empty:
            self._committer.commit(pending.take(Counts()))
            self._committed(len(parts))


@contextmanager
def machine_lock(path: Path) -> Iterator[None]:
    """Let one process of this machine in at a time.

    Raises:
        StoreUnavailable: the file cannot be made.
    """
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreUnavailable(f"cannot write {path}: {error.strerror}") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
