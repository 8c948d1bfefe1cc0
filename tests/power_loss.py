"""A model of what a power cut leaves: everything that was fsynced, and any part of what was not.

A `Recorder` notes what a journey does to the files of a store: contents at their fsync, renames and removals, fsyncs
of folders, and the catalogue after each transaction (SQLite and PostgreSQL are taken at their word). `Recorder.state`
then makes the folder that a cut at any moment may leave: names whose folder was not synced are old, new or gone; of
contents that were not synced, any 4 KiB page may be missing or torn.
"""

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import psycopg
import pytest
from sqlalchemy import Connection

from search.database.database import Database
from search.upkeep.compaction import compact
from tests import fault_worker

PAGE = 4096
Kind = Literal["fsync", "rename", "unlink", "folder", "catalogue", "promise"]


@dataclass(frozen=True)
class Event:
    """path, other: relative to the store. data: contents of a file, of the catalogue, or lines of promises."""

    kind: Kind
    path: str = ""
    other: str = ""
    data: bytes = b""


@dataclass
class Recorder:
    """unseen: kinds of events of blobs that the disk does not get to know, as if the call were missing in the code."""

    root: Path
    unseen: tuple[Kind, ...] = ()
    events: list[Event] = field(default_factory=list)
    url: str | None = field(default_factory=lambda: os.environ.get("LOOKALIKE_CATALOGUE"))

    def note(self, event: Event) -> None:
        if event.kind not in self.unseen or not event.path.startswith(("segments", "generations")):
            self.events.append(event)

    def name(self, path: Path) -> str | None:
        """Return a path relative to the store, None outside and for the catalogue, whose files are SQLite's own."""
        inside = path.is_relative_to(self.root / "store") and not path.name.startswith("catalogue.sqlite")
        return str(path.relative_to(self.root / "store")) if inside else None

    @contextmanager
    def watching(self, patch: pytest.MonkeyPatch) -> Iterator[None]:
        """Note what is done to files until the end."""
        with patch.context() as patched:
            patched.setattr(os, "fsync", self._fsync(os.fsync))
            patched.setattr(Path, "rename", self._rename(Path.rename))
            patched.setattr(Path, "unlink", self._unlink(Path.unlink))
            patched.setattr(Database, "writing", self._writing(Database.writing))
            patched.setattr(fault_worker, "promise", self._promise(fault_worker.promise))
            yield

    def _fsync(self, fsync: Callable[[int], None]) -> Callable[[int], None]:
        def watched(handle: int) -> None:
            path = Path(f"/proc/self/fd/{handle}").readlink()
            name = self.name(path)
            if name is not None:
                folder = path.is_dir()
                self.note(Event("folder", name) if folder else Event("fsync", name, data=path.read_bytes()))
            fsync(handle)

        return watched

    def _rename(self, rename: Callable[[Path, Path], Path]) -> Callable[[Path, Path], Path]:
        def watched(path: Path, target: Path) -> Path:
            one, other = self.name(path), self.name(target)
            if one is not None and other is not None:
                self.note(Event("rename", one, other, path.read_bytes()))
            return rename(path, target)

        return watched

    def _unlink(self, unlink: Callable[..., None]) -> Callable[..., None]:
        def watched(path: Path, missing_ok: bool = False) -> None:
            name = self.name(path)
            if name is not None and path.exists():
                self.note(Event("unlink", name))
            unlink(path, missing_ok=missing_ok)

        return watched

    def _writing(self, writing: Callable[[Database], Any]) -> Callable[[Database], Any]:
        @contextmanager
        def watched(database: Database) -> Iterator[Connection]:
            with writing(database) as connection:
                yield connection
            self.note(Event("catalogue", data=self._copied_catalogue(database)))

        return watched

    def _copied_catalogue(self, database: Database) -> bytes:
        """Return the catalogue as it was just committed: SQLite's file, or the URL of a copy of the database."""
        if self.url is None:
            return (self.root / "store" / "catalogue.sqlite").read_bytes()
        database.engine.dispose()  # a database that somebody is connected to cannot be copied
        server, _, name = self.url.rpartition("/")
        copy = f"{name}_{len(self.events)}"
        with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {copy} TEMPLATE {name}".encode())
        return f"{server}/{copy}".encode()

    def _promise(self, promise: Callable[..., None]) -> Callable[..., None]:
        def watched(root: Path, mark: str, names: list[str]) -> None:
            promise(root, mark, names)
            self.note(Event("promise", data="".join(f"{mark}{name}\n" for name in names).encode()))

        return watched

    def state(self, folder: Path, rng: np.random.Generator) -> None:
        """Make the folder that a power cut after a random event may leave."""
        disk = _Disk(rng)
        for event in self.events[: int(rng.integers(1, len(self.events) + 1))]:
            disk.take(event)
        disk.leave(folder)


class _Disk:
    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self._synced: dict[str, bytes] = {}  # by name
        self._seen: dict[str, bytes] = {}
        self._names: set[str] = set()
        self._pending: list[Event] = []
        self._catalogue = b""
        self._promises = b""

    def take(self, event: Event) -> None:
        if event.kind == "fsync":
            self._synced[event.path] = event.data
        elif event.kind == "rename":
            self._seen[event.other] = event.data
            if event.path in self._synced:
                self._synced[event.other] = self._synced.pop(event.path)
            self._pending.append(event)
        elif event.kind == "unlink":
            self._pending.append(event)
        elif event.kind == "folder":
            done = [one for one in self._pending if str(Path(one.other or one.path).parent) == event.path]
            self._pending = [one for one in self._pending if one not in done]
            for one in done:
                self._happen(one)
        elif event.kind == "catalogue":
            self._catalogue = event.data
        else:
            self._promises += event.data

    def _happen(self, event: Event) -> None:
        self._names.discard(event.path)
        if event.kind == "rename":
            self._names.add(event.other)

    def leave(self, folder: Path) -> None:
        store = folder / "store"
        store.mkdir(parents=True)
        for event in self._pending:
            if self._rng.random() < 0.5:
                self._happen(event)
        if self._catalogue.startswith(b"postgresql:"):
            os.environ["LOOKALIKE_CATALOGUE"] = self._catalogue.decode()  # only read from now on
        elif self._catalogue:
            (store / "catalogue.sqlite").write_bytes(self._catalogue)
        for name in self._names:
            (store / name).parent.mkdir(exist_ok=True)
            synced = self._synced.get(name)
            (store / name).write_bytes(self._torn(self._seen[name]) if synced is None else synced)
        (folder / "promised.log").write_bytes(self._promises)

    def _torn(self, data: bytes) -> bytes:
        """Return what may be on the disk of contents that were not synced: pages lost or torn, or a shorter file."""
        pages = [bytearray(data[start : start + PAGE]) for start in range(0, len(data), PAGE)]
        for page in pages:
            kept = int(self._rng.choice([0, len(page) // 2, len(page)]))
            page[kept:] = bytes(len(page) - kept)
        whole = b"".join(pages)
        return whole if self._rng.random() < 0.5 else whole[: int(self._rng.integers(0, len(whole) + 1))]


def journey(root: Path) -> None:
    """Fill a store, remove, publish and compact twice."""
    store, target = fault_worker.open_store(root)
    with store:
        for name in fault_worker.ADDED:
            fault_worker.add(root, store, target, [name, f"{name}{name}"])
        fault_worker.publish(store, target)
        fault_worker.remove(root, store, target, ["a", "bb"])
        compact(store, older_than_s=-1)
        fault_worker.add(root, store, target, ["e"])
        compact(store, older_than_s=-1)


def recorded(folder: Path, unseen: tuple[Kind, ...] = ()) -> Recorder:
    """Return what the journey does to a store, on the database of LOOKALIKE_CATALOGUE if there is one."""
    recorder = Recorder(folder / "live", unseen)
    recorder.root.mkdir()
    with pytest.MonkeyPatch.context() as patch, recorder.watching(patch):
        journey(recorder.root)
    return recorder


def violations_after_power_loss(folder: Path, states: int, unseen: tuple[Kind, ...] = ()) -> list[str]:
    """Return the promises that do not hold after power cuts at random moments of the journey."""
    recorder = recorded(folder, unseen)
    return violations_after_cuts(recorder, folder, range(states))


def violations_after_cuts(recorder: Recorder, folder: Path, seeds: Iterable[int]) -> list[str]:
    """Return the promises that do not hold after these power cuts of a recorded journey."""
    found = []
    for seed in seeds:
        place = folder / str(seed)
        recorder.state(place, np.random.default_rng(seed))
        found += [f"state {seed}: {one}" for one in fault_worker.violations(place)]
        shutil.rmtree(place)
    return found
