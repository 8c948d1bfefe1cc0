"""Watching local folders: what changes becomes one pass over just that, once it has settled.

A thread collects what the system reports from before the first pass on, so that nothing falls between the two. A burst
of changes is one pass: it begins when nothing has changed for a moment, or when it has lasted too long to wait. A file
that was caught half-written fails, and is tried again by the change that completes it.
"""

import os
import queue
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Self

from indexer.sources.found import Source, suffix_of
from indexer.sources.pruning import Part
from indexer.sources.sidecars import SUFFIX
from indexer.sources.sources import emptiness
from search.errors import LookalikeError, UsageError
from search.records import uri_of_path

QUIET_S: Final = 1.0
LONGEST_BURST_S: Final = 10.0
_TICK_MS: Final = 200  # how often the thread looks whether it shall stop
_TICK_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class Burst:
    """Changes to index together. sources: the files that are new or changed."""

    sources: list[Source]
    part: Part

    @property
    def paths(self) -> int:
        """How many files and folders changed."""
        return len(self.sources) + len(self.part.gone)


class Watcher:
    """Collects changes below the local folders among sources. Use it in a `with`; it watches from then on."""

    def __init__(self, sources: Sequence[Source], skip: Path) -> None:
        """skip: the store, whose own files are no news.

        Raises:
            UsageError: none of the sources is a local folder.
        """
        self._roots = [source for source in sources if source.kind == "folder" and not source.remote]
        if not self._roots:
            raise UsageError("--watch needs a local folder among the sources; files, archives and URLs are not watched")
        self._skip = str(skip)
        self._news: queue.Queue[set[str] | Exception] = queue.Queue()
        self._stop = threading.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._collect, name="watch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def bursts(self) -> Iterator[Burst]:
        """Yield what changed, settled, for ever.

        Raises:
            LookalikeError: the system cannot watch the folders.
        """
        while True:
            burst = self._burst_of(self._settled())
            if burst.paths:
                yield burst

    def _collect(self) -> None:
        from watchfiles import watch

        roots = [root.path for root in self._roots]
        try:
            for changes in watch(
                *roots,
                watch_filter=None,
                debounce=_TICK_MS,
                rust_timeout=_TICK_MS,
                yield_on_timeout=True,
                stop_event=self._stop,
                raise_interrupt=False,
            ):
                self._ready.set()
                if changes:
                    self._news.put({path for _, path in changes})
        except Exception as error:  # noqa: BLE001 -- it is raised again in the thread that waits
            self._news.put(error)
        finally:
            self._ready.set()

    def _settled(self) -> set[str]:
        """Return the paths of one burst."""
        paths = self._take(None)
        began = time.monotonic()
        while time.monotonic() - began < LONGEST_BURST_S:
            more = self._take(QUIET_S)
            if not more:
                break
            paths |= more
        return paths

    def _take(self, timeout_s: float | None) -> set[str]:
        """Return the next changes, nothing when none came in time. Waits in short pieces, so that signals are heard."""
        began = time.monotonic()
        while timeout_s is None or time.monotonic() - began < timeout_s:
            try:
                news = self._news.get(timeout=_TICK_S)
            except queue.Empty:
                continue
            if isinstance(news, Exception):
                remedy = "on Linux, raise fs.inotify.max_user_watches and fs.inotify.max_user_instances"
                raise LookalikeError(f"the folders cannot be watched: {news}; {remedy}") from news
            return news
        return set()

    def _burst_of(self, paths: Iterable[str]) -> Burst:
        there: dict[str, Source] = {}
        gone: dict[str, None] = {}
        for path in sorted({wanted for changed in paths for wanted in self._pictures_of(changed)}):
            root = next((root for root in self._roots if path == root.path or path.startswith(f"{root.path}/")), None)
            if root is None or self._is_passed_over(path, root):
                continue
            if not os.path.lexists(path):
                gone[uri_of_path(path)] = None
            there |= {file: self._file(file, root) for file in self._files(path, root)}
        # A root without its disk looks like one whose files were all deleted.
        roots = [replace(root, detail=emptiness(root.path)) for root in self._roots]
        return Burst(list(there.values()), Part(roots, list(gone)))

    @staticmethod
    def _pictures_of(path: str) -> list[str]:
        """Return the path, or for a sidecar the pictures it can belong to."""
        if suffix_of(path) != SUFFIX:
            return [path]
        stem = path[: -len(SUFFIX)]
        folder, name = os.path.split(stem)
        try:
            beside = [one for one in os.listdir(folder) if one.startswith(f"{name}.") and suffix_of(one) != SUFFIX]  # noqa: PTH208
        except OSError:
            beside = []
        # photo.jpg.json is beside photo.jpg, photo.json beside photo.anything.
        return [one for one in (stem, *(f"{folder}/{name}" for name in beside)) if os.path.lexists(one)]

    @staticmethod
    def _file(path: str, root: Source) -> Source:
        return Source(path, "file", named=False, uri=uri_of_path(path), exclude=root.exclude)

    def _files(self, path: str, root: Source) -> Iterator[str]:
        """Yield the regular files at a path or below; a new folder may have been filled before it was watched."""
        if os.path.isfile(path) and not os.path.islink(path):  # noqa: PTH113, PTH114
            yield path
        elif os.path.isdir(path) and not os.path.islink(path):  # noqa: PTH112, PTH114
            for folder, folders, names in os.walk(path):
                folders[:] = [one for one in folders if not self._is_passed_over(f"{folder}/{one}", root)]
                files = (f"{folder}/{one}" for one in names)
                yield from (one for one in files if not self._is_passed_over(one, root) and not os.path.islink(one))  # noqa: PTH114

    def _is_passed_over(self, path: str, root: Source) -> bool:
        if path == self._skip or path.startswith(f"{self._skip}/"):
            return True
        below = path[len(root.path) :].lstrip("/")
        hidden = any(part.startswith(".") for part in below.split("/"))
        return hidden or (bool(below) and root.exclude.matches(below))
