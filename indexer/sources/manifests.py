"""Manifests: tables whose rows name pictures, with keys, checksums and metadata. manifest_tables.py reads them.

A row names its picture by `uri`, else `url`, else `path`; relative ones lie beside the manifest. `key` is the user's
name of the image, `sha256` what its bytes must have; every other column is metadata. Of rows that share a key the first
counts. A row that gives no picture still names one, which is then not gone from the manifest.
"""

import hashlib
import itertools
import os
import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Final
from urllib.parse import unquote, urljoin

import numpy as np
import xxhash

from indexer.sources.found import (
    INSIDE,
    ROW,
    Found,
    FoundFile,
    IgnoredFile,
    Named,
    Origin,
    Source,
    UnreadableFile,
    Visit,
    is_url,
    stamped,
)
from indexer.sources.local_files import look
from indexer.sources.manifest_tables import BROKEN, PLACES, ROWS, Row, rows_of
from indexer.sources.network_errors import explained
from indexer.sources.remote_files import canonical, look_remote
from indexer.sources.sidecars import cleaned, cleaned_text, storable
from search.errors import BadImage
from search.records import uri_of_path

_LOOKERS: Final = 16  # requests for sizes and dates at a time
_SHOWN: Final = 200  # characters of a cell, in the ledger
_MAX_KEY: Final = 2_000  # characters: what an index entry of PostgreSQL holds
_SHA256_BYTES: Final = hashlib.sha256().digest_size


def walk_manifest(source: Source, visit: Visit) -> Iterator[Found]:
    """Yield the pictures that the rows of a manifest name. A row that cannot be used is one entry for the ledger."""
    keys = _SeenKeys()
    done = 0
    try:
        with rows_of(source.path) as rows, ThreadPoolExecutor(_LOOKERS) as lookers:
            while batch := list(itertools.islice(rows, ROWS)):
                new = keys.add([_key_text(row) for row in batch])
                jobs = [
                    (source, done + at, row, bool(first))
                    for at, (row, first) in enumerate(zip(batch, new, strict=True), start=1)
                ]
                visit.garbled = visit.garbled or any(BROKEN in row for row in batch)
                for found in _looked_at(jobs, lookers):
                    done += 1
                    visit.images += isinstance(found, FoundFile)
                    yield found
        visit.whole = True
    except Exception as error:  # noqa: BLE001 -- pyarrow and network files raise whatever their own libraries do
        reason, detail = explained(error)
        yield UnreadableFile(source.uri, reason, f"the manifest cannot be read beyond row {done}: {detail}")


def _looked_at(jobs: list[tuple[Source, int, Row, bool]], lookers: ThreadPoolExecutor) -> Iterable[Found]:
    if any(is_url(source.path) or is_url(_place(row) or "") for source, _, row, _ in jobs):
        return lookers.map(lambda job: _found(*job), jobs)
    return (_found(*job) for job in jobs)


def _found(source: Source, number: int, row: Row, first: bool) -> Found:
    """Return the picture of a row, or why it has none now and what it names all the same. first: of its key."""
    try:
        found = _picture(source, row, first)
    except BadImage as error:
        found = UnreadableFile(f"{source.uri}{ROW}{number}", error.reason, f"row {number}: {error.detail}")
    return replace(found, named=_named(source.path, row)) if isinstance(found, UnreadableFile | IgnoredFile) else found


def _picture(source: Source, row: Row, first: bool) -> Found:
    if BROKEN in row:
        raise BadImage("bad_manifest_row", str(row[BROKEN]))
    place = _place(row)
    if place is None:
        raise BadImage("bad_manifest_row", "it names no picture: uri, url and path are all empty or missing")
    if not first:
        raise BadImage("duplicate_key", f"its key {_key_text(row)!r} is that of an earlier row, which counts")
    found = _at(source.path, place)
    if not isinstance(found, FoundFile):
        return found
    if source.exclude.matches(os.path.basename(found.path)):  # noqa: PTH119
        return IgnoredFile(found.path)
    return _described(found, source, row)


def _at(manifest: str, place: str) -> Found:
    try:
        there = _resolved(manifest, place)
        return look_remote(there) if is_url(there) else look(there, named=True)
    except BadImage:
        raise
    except Exception as error:  # a cell can spell what is neither a path nor a URL that anything here speaks
        raise BadImage("bad_manifest_row", f"{place[:_SHOWN]}: {explained(error)[1]}") from error


def _named(manifest: str, row: Row) -> Named:
    place = _place(row)
    try:
        there = None if place is None else _resolved(manifest, place)
        uri = there if there is None else canonical(there) if is_url(there) else uri_of_path(there)
    except (BadImage, ValueError):
        uri = None
    return Named(uri, _key_text(row))


def _described(found: FoundFile, source: Source, row: Row) -> FoundFile:
    sha256 = _sha256(row.get("sha256"))
    named = next(place for place in PLACES if row.get(place) not in (None, ""))
    others = {name: value for name, value in row.items() if name not in (named, "key", "sha256")}
    kept = storable({cleaned_text(name): cleaned(value) for name, value in others.items() if value is not None})
    content = found.origin.content if found.origin is not None else None
    origin = Origin(content, _key_text(row), sha256, kept or None, source.uri)
    # Another expected sha256 means that the file must be read again.
    mtime_ns = found.mtime_ns if sha256 is None else stamped(found.mtime_ns, sha256)
    return replace(found, origin=origin, mtime_ns=mtime_ns)


def _place(row: Row) -> str | None:
    return next((str(row[place]) for place in PLACES if row.get(place) not in (None, "")), None)


def _key_text(row: Row) -> str | None:
    value = row.get("key")
    return None if value in (None, "") else cleaned_text(str(value))[:_MAX_KEY]


def _sha256(value: object) -> bytes | None:
    if value in (None, ""):
        return None
    if isinstance(value, bytes) and len(value) == _SHA256_BYTES:
        return value
    text = value.decode("latin-1") if isinstance(value, bytes) else str(value)
    if not re.fullmatch(r"[0-9a-fA-F]{64}", text):
        raise BadImage("bad_manifest_row", f"its sha256 {text[:80]!r} is not 64 hexadecimal digits")
    return bytes.fromhex(text)


def _resolved(manifest: str, place: str) -> str:
    """Return the local path or URL that a cell means."""
    if INSIDE in place:
        raise BadImage("bad_manifest_row", f"{place}: name the archive itself as a SOURCE, not its members")
    if place.startswith("file:///"):
        return unquote(place.removeprefix("file://"), errors="surrogateescape")
    if is_url(place):
        return place
    if is_url(manifest):
        return urljoin(manifest, place) if manifest.startswith("http") else f"{manifest.rpartition('/')[0]}/{place}"
    return os.path.normpath(os.path.join(os.path.dirname(manifest), place))  # noqa: PTH118, PTH120


class _SeenKeys:
    """Which keys were met: 8 bytes each, sorted, since manifests may have hundreds of millions of rows."""

    def __init__(self) -> None:
        self._runs: list[np.ndarray[Any, np.dtype[np.uint64]]] = []

    def add(self, keys: list[str | None]) -> list[bool]:
        """Add keys; return for each whether it is new. None is no key, and always new."""
        digests = [None if key is None else xxhash.xxh3_64_intdigest(key.encode()) for key in keys]
        met: set[int] = set()
        fresh = []
        for digest in digests:
            fresh.append(digest is None or (digest not in met and not self._has(digest)))
            if digest is not None:
                met.add(digest)
        self._keep(np.sort(np.fromiter(met, np.uint64, len(met))))
        return fresh

    def _has(self, digest: int) -> bool:
        wanted = np.uint64(digest)
        places = ((run, int(np.searchsorted(run, wanted))) for run in self._runs)
        return any(place < len(run) and run[place] == wanted for run, place in places)

    def _keep(self, run: np.ndarray[Any, np.dtype[np.uint64]]) -> None:
        # Runs of like length are merged, so that there are never more than some twenty.
        while self._runs and len(self._runs[-1]) <= len(run):
            run = np.union1d(self._runs.pop(), run)
        if len(run):
            self._runs.append(run)
