"""Job: make embeddings that another program computed a collection. No backbone and no picture is needed.

The space is known by the name its user gives it: embeddings of one name are comparable. Rows are committed 1,024 at a
time like any others, so that a run that was killed goes on: rows whose key and content are there are left alone.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select

from search.conditions.user_metadata import checked
from search.database.database import chunks
from search.database.tables import content, image
from search.embeddings import usable_rows
from search.errors import LookalikeError, UsageError
from search.finding.generations import Generations
from search.moving.embedding_shards import Shards
from search.records import IMPORTED, UNKNOWN_FORMAT, Collection, ContentFacts, Embeddings, Label, SpaceSpec, uri_of_path
from search.storing.commits import MAX_BATCH_ROWS, Batch, Committer, no_embeddings
from search.storing.image_rows import NewImage
from search.storing.ledger import FailedFile
from search.storing.store import Store

Progress = Callable[[int, int], None]
MAX_NAME = 200
# So close to 1 a row is of unit length but for rounding: stored as it is, an export comes back bit by bit.
UNIT_TOLERANCE = 2**-9
UNKNOWN_CONTRAST = 127.5  # of a picture nobody has seen: not to be taken for a blank one
# Columns that become something of an image; all others become its metadata.
PLACES = ("uri", "url")
PATHS = ("image_path", "path")
OWN = frozenset(
    {*PLACES, *PATHS, "key", "sha256", "width", "height", "bytes", "format", "labels", "metadata", "pixel_hash"}
    | {"perceptual_hash", "contrast", "id", "row"}
)


@dataclass(slots=True)
class Imported:
    """What an import did, in rows. updated: their key was there with another content."""

    indexed: int = 0
    updated: int = 0
    unchanged: int = 0
    failures: Counter[str] = field(default_factory=Counter)

    def as_json(self) -> dict[str, object]:
        """Return the counts as `import` prints them."""
        failed = self.failures.total()
        return {
            "seen": self.indexed + self.updated + self.unchanged + failed,
            "indexed": self.indexed,
            "updated": self.updated,
            "unchanged": self.unchanged,
            "failed": failed,
            "failures_by_reason": dict(sorted(self.failures.items())),
        }


def imported_space(name: str, dims: int) -> SpaceSpec:
    """Return the space of embeddings that were made elsewhere, by the name its user gives it.

    Raises:
        UsageError: the name cannot be used.
    """
    if not name.strip() or len(name) > MAX_NAME or not name.isprintable():
        raise UsageError(f"{name!r} cannot name a space: use 1 to 200 printable characters")
    return SpaceSpec(name, "0" * 64, json.dumps({"mode": IMPORTED}), dims, pooling=IMPORTED, weights=IMPORTED)


def import_rows(
    store: Store, target: Collection, shards: Shards, progress: Progress = lambda done, total: None
) -> Imported:
    """Commit every row of the shards that is not there yet, and publish a generation.

    progress: called with (rows done, rows in all).

    Raises:
        StoreUnavailable: the disk is full or the catalogue does not answer; run again to go on.
        KeyboardInterrupt: what was committed stays.
    """
    job = _Import(store, target)
    job.run(shards, progress)
    renewed = store.catalogue.collection(target.name)
    generations = Generations(store.database, store.blobs, renewed)
    current = generations.current()
    since = 0 if current is None else current.sequence
    if generations.due(current, store.catalogue.count_changed_since(renewed.id, since)):
        generations.publish(renewed.sequence)
    return job.counts


@dataclass(frozen=True, slots=True)
class _Row:
    """A usable row: its image, and the embedding that its content gets."""

    image: NewImage
    sha256: bytes
    embedding: NDArray[np.float32]


class _Import:
    """One run, a block of rows at a time."""

    def __init__(self, store: Store, target: Collection) -> None:
        self._store = store
        self._target = target
        self.counts = Imported()

    def run(self, shards: Shards, progress: Progress) -> None:
        committer = Committer(self._store.database, self._store.blobs, self._target)
        described = shards.descriptions()
        done, state = 0, "failed"
        try:
            for block in shards.blocks(MAX_BATCH_ROWS):
                said = list(islice(described, len(block)))
                if len(said) != len(block):
                    raise LookalikeError("the metadata ended early: it was changed while it was read; run again")
                self._take(committer, block, said, done)
                done += len(block)
                progress(done, shards.total)
            state = "done"
        except KeyboardInterrupt:
            state = "interrupted"
            raise
        finally:
            committer.finish(state, self.counts.as_json())

    def _take(
        self, committer: Committer, block: NDArray[np.floating], said: list[tuple[dict[str, Any], Path]], first: int
    ) -> None:
        rows: list[_Row] = []
        failed: list[FailedFile] = []
        usable = usable_rows(block)
        for number, (embedding, good) in enumerate(zip(unit_or_kept(block), usable, strict=True)):
            description, place = said[number]
            key, uri = _names(description, place, first + number)
            try:
                if not good:
                    raise _Unusable("invalid_embedding", f"row {first + number} is zero or not finite")
                rows.append(_row(key, uri, description, embedding))
            except _Unusable as error:
                failed.append(FailedFile(uri.replace("\0", "\ufffd"), error.reason, error.detail, 0, 0))
                self.counts.failures[error.reason] += 1
        for part in _without_repeated_keys(rows):
            self._commit(committer, part, [])
        if failed:
            self._commit(committer, [], failed)

    def _commit(self, committer: Committer, rows: list[_Row], failed: list[FailedFile]) -> None:
        known = self._known([row.image.key for row in rows])
        fresh = [row for row in rows if known.get(row.image.key) != row.sha256]
        updated = sum(row.image.key in known for row in fresh)
        if not fresh and not failed:
            self.counts.unchanged += len(rows)
            return
        embeddings = np.stack([row.embedding for row in fresh]) if fresh else no_embeddings(self._target.space.dims)
        committer.commit(Batch([row.image for row in fresh], embeddings, failed, self.counts.as_json()))
        self.counts.unchanged += len(rows) - len(fresh)
        self.counts.updated += updated
        self.counts.indexed += len(fresh) - updated

    def _known(self, keys: list[str]) -> dict[str, bytes]:
        query = (
            select(image.c.key, content.c.sha256)
            .join(content, content.c.id == image.c.content_id)
            .where(image.c.collection_id == self._target.id, ~image.c.deleted)
        )
        with self._store.database.reading() as connection:
            found = [row for part in chunks(keys) for row in connection.execute(query.where(image.c.key.in_(part)))]
        return {row.key: bytes(row.sha256) for row in found}


class _Unusable(Exception):
    """A row for the ledger."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


def unit_or_kept(block: NDArray[np.floating]) -> Embeddings:
    """Return rows of unit length, (N, D) float32: those that are so but for rounding as they are, useless ones 0."""
    wide = np.where(usable_rows(block)[:, np.newaxis], block, 0).astype(np.float64)
    # Scaled first: the square of a large float64 is infinite.
    largest = np.abs(wide).max(axis=1, keepdims=True)
    scaled = np.divide(wide, largest, out=np.zeros_like(wide), where=largest > 0)
    lengths = np.linalg.norm(scaled, axis=1, keepdims=True)
    unit = np.divide(scaled, lengths, out=np.zeros_like(wide), where=lengths > 0)
    kept = np.abs(lengths * largest - 1) < UNIT_TOLERANCE
    return np.where(kept, wide, unit).astype(np.float32)


def _without_repeated_keys(rows: list[_Row]) -> Iterator[list[_Row]]:
    """Yield the rows in parts in which every key is there once: the later of two replaces the earlier."""
    part: dict[str, _Row] = {}
    for row in rows:
        if row.image.key in part:
            yield list(part.values())
            part = {}
        part[row.image.key] = row
    if part:
        yield list(part.values())


def _names(said: Mapping[str, Any], place: Path, number: int) -> tuple[str, str]:
    """Return the key and the uri of a row: the first of its names that it has."""
    address = next((str(said[name]) for name in PLACES if said.get(name)), None)
    path = next((str(said[name]) for name in PATHS if said.get(name)), None)
    key = str(said["key"]) if said.get("key") not in (None, "") else address or path or str(number)
    if address is not None:
        return key, address
    if path is not None:
        return key, path if "://" in path else uri_of_path(str((place.parent / path).absolute()))
    return key, f"import:{quote(key)}"


def _row(key: str, uri: str, said: Mapping[str, Any], embedding: NDArray[np.float32]) -> _Row:
    if "\0" in key or "\0" in uri:
        raise _Unusable("corrupt", f"its key {key!r} has a NUL, which no database takes")
    sha256 = (
        _hash(said, "sha256", 32)
        or hashlib.sha256(b"imported\0" + key.encode() + b"\0" + embedding.astype("<f2").tobytes()).digest()
    )
    facts = ContentFacts(
        sha256=sha256,
        size_bytes=_count(said, "bytes"),
        format=str(said.get("format") or UNKNOWN_FORMAT),
        width=_count(said, "width"),
        height=_count(said, "height"),
        pixel_hash=_hash(said, "pixel_hash", 16) or sha256[:16],
        perceptual_hash=_hash(said, "perceptual_hash", 32) or bytes(32),
        contrast=_contrast(said),
        taken_at=_taken_at(said),
    )
    labels = tuple(Label(str(one["label"]), float(one["probability"])) for one in said.get("labels") or ())
    new = NewImage(key, uri, facts.size_bytes, 0, facts, labels=labels or None, metadata=_metadata(said))
    return _Row(new, sha256, embedding)


def _hash(said: Mapping[str, Any], name: str, size: int) -> bytes | None:
    value = said.get(name)
    if value is None or value == "":
        return None
    try:
        found = bytes(value) if isinstance(value, bytes) else bytes.fromhex(str(value))
    except ValueError:
        found = b""
    if len(found) != size:
        raise _Unusable("corrupt", f"its {name} {str(value)[:80]!r} is not {2 * size} hexadecimal digits")
    return found


def _count(said: Mapping[str, Any], name: str) -> int:
    value = said.get(name)
    usable = isinstance(value, int | float) and 0 <= value < 2**31 * (2**20 if name == "bytes" else 1)
    return int(value) if usable and value is not None else 0


def _contrast(said: Mapping[str, Any]) -> float:
    value = said.get("contrast")
    return float(value) if isinstance(value, float) and 0 <= value <= UNKNOWN_CONTRAST else UNKNOWN_CONTRAST


def _taken_at(said: Mapping[str, Any]) -> str | None:
    value = said.get("taken_at")
    return value if isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", value) else None


def _metadata(said: Mapping[str, Any]) -> dict[str, object]:
    """Return what has no place of its own, as JSON takes it."""
    found: dict[str, object] = {}
    own = said.get("metadata")
    if isinstance(own, str) and own:
        try:
            parsed = json.loads(own)
        except ValueError:
            parsed = own
        found = parsed if isinstance(parsed, dict) else {"metadata": parsed}
    for name, value in said.items():
        if name in OWN or value is None or (isinstance(value, float) and not np.isfinite(value)):
            continue
        found[name] = json.loads(json.dumps(value, default=_as_text))
    if _taken_at(said) is not None:
        found.pop("taken_at", None)  # it has a place of its own
    try:
        return checked(found)
    except UsageError as error:
        raise _Unusable("corrupt", str(error)) from error


def _as_text(value: object) -> str:
    if isinstance(value, datetime | date):
        return value.isoformat()
    return value.hex() if isinstance(value, bytes) else str(value)
