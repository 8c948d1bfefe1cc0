"""Job: embed the stored images of a collection once more, in another space. Files -> decoder -> backbone -> segments.

What is embedded is durable batch by batch, and looked up before anything is read, so that a job that was killed goes
on where it was. A content with several images is read from the first of them whose file still holds it.
"""

import hashlib
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from sqlalchemy import Row

from indexer.backbones.backbone import Backbone, Pixels
from indexer.backbones.fixed_projection import projected
from indexer.backbones.labelling import Labeller
from indexer.decoding.decoding import Decoder
from indexer.jobs.region_embedding import embedded_regions
from search.embeddings import unit_rows, usable_rows
from search.errors import BadImage
from search.records import Embeddings, Label
from search.spaces.space_upgrade import ShadowRow, SpaceUpgrade
from search.storing.commits import MAX_BATCH_ROWS, MAX_BATCH_S

PAGE_IMAGES = 1_000
READ_AHEAD = 4  # pictures per decoding child
MAX_LISTED = 1_000
CHANGED = "changed"  # not a reason of the ledger: the image as it was can still be found in the old space
# The bytes behind a uri; raises BadImage.
Read = Callable[[str], bytes]


@dataclass(frozen=True, slots=True)
class ReembedOptions:
    """batch_size: pictures per call of the backbone. decoders: threads that read and decode.

    commit_rows, commit_s: a batch is made durable after this many rows or seconds, whichever is first.
    """

    batch_size: int = 32
    decoders: int = 2
    commit_rows: int = MAX_BATCH_ROWS
    commit_s: float = MAX_BATCH_S
    labeller: Labeller | None = None


@dataclass(frozen=True, slots=True)
class NotEmbedded:
    """An image that has no embedding in the space. reason: of the ledger, or `changed`."""

    uri: str
    reason: str
    detail: str

    def as_json(self) -> dict[str, object]:
        """Return the item of `failed`."""
        return {"uri": self.uri, "reason": self.reason, "detail": self.detail}


@dataclass(slots=True)
class Filled:
    """What a run did. embedded: contents; failed: images, the first 1,000 of them; reasons: all of them."""

    embedded: int = 0
    failed: list[NotEmbedded] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)

    def as_json(self) -> dict[str, object]:
        """Return the counts as `reembed` prints them."""
        return {
            "embedded": self.embedded,
            "failed": self.reasons.total(),
            "failures_by_reason": dict(sorted(self.reasons.items())),
            "failures": [one.as_json() for one in self.failed],
        }


class _Frames(NamedTuple):
    """What the backbone is shown of a picture. regions: (4, H, W, 3) uint8, None where they are not wanted."""

    whole: Pixels
    regions: Pixels | None


class ReembedJob:
    """One run of `reembed` over the images that a space lacks. read: asked in the order in which they were indexed."""

    def __init__(self, upgrade: SpaceUpgrade, space_id: int, backbone: Backbone, read: Read) -> None:
        self._upgrade = upgrade
        self._space_id = space_id
        self._backbone = backbone
        self._read = read
        self._waiting: list[tuple[int, str, _Frames]] = []
        self._rows: list[ShadowRow] = []
        self._embeddings: list[Embeddings] = []
        self._since = time.monotonic()
        self._filled = Filled()
        self._tried: dict[int, list[NotEmbedded]] = {}
        self._done: set[int] = set()

    def run(
        self, pool: Decoder, options: ReembedOptions, progress: Callable[[int, int], None] = lambda done, total: None
    ) -> Filled:
        """Embed what is missing; return what was done. progress: called with (images looked at, missing at first).

        Raises:
            StoreUnavailable: the disk is full or the catalogue does not answer; run again to go on.
            KeyboardInterrupt: after what was embedded became durable.
        """
        total = self._upgrade.count_unfinished(self._space_id)
        try:
            for number, (row, outcome) in enumerate(self._decoded(pool, options.decoders), start=1):
                self._take(row, outcome, options)
                progress(number, max(number, total))
        except KeyboardInterrupt:
            self._commit()
            raise
        self._embed(options)
        self._commit()
        for failures in self._tried.values():
            for one in failures:
                self._filled.reasons[one.reason] += 1
                if len(self._filled.failed) < MAX_LISTED:
                    self._filled.failed.append(one)
        return self._filled

    def _take(self, row: Row[Any], outcome: "_Frames | NotEmbedded", options: ReembedOptions) -> None:
        if isinstance(outcome, NotEmbedded):
            if row.content_id not in self._done:
                self._tried.setdefault(row.content_id, []).append(outcome)
            return
        if row.content_id in self._done:
            return  # another image of the same content was decoded before
        self._done.add(row.content_id)
        self._tried.pop(row.content_id, None)
        self._waiting.append((row.content_id, row.uri, outcome))
        if len(self._waiting) >= options.batch_size:
            self._embed(options)
        old = time.monotonic() - self._since > options.commit_s
        size = sum(1 if one.regions is None else 1 + len(one.regions) for one in self._rows)
        if self._rows and (old or size + options.batch_size > options.commit_rows):
            self._commit()

    def _embed(self, options: ReembedOptions) -> None:
        if not self._waiting:
            return
        labeller = options.labeller
        raw = self._backbone.embed(np.stack([frames.whole for _, _, frames in self._waiting]))
        usable, rows = usable_rows(raw), unit_rows(projected(raw, self._backbone.space.dims))
        named: Iterator[tuple[Label, ...]] = iter(labeller.labels(raw[usable]) if labeller and usable.any() else [])
        frames_of_regions = [frames.regions for _, _, frames in self._waiting]
        regions = embedded_regions(self._backbone, rows, frames_of_regions, options.batch_size)
        for (content_id, uri, _), row, parts, good in zip(self._waiting, rows, regions, usable, strict=True):
            if not good:
                detail = f"{self._backbone.space.backbone} answered with NaN, infinity or zero"
                self._tried[content_id] = [NotEmbedded(uri, "invalid_embedding", detail)]
                continue
            self._rows.append(ShadowRow(content_id, next(named) if labeller else None, parts))
            self._embeddings.append(row)
        self._waiting = []

    def _commit(self) -> None:
        if self._rows:
            self._upgrade.fill(self._space_id, self._rows, np.stack(self._embeddings))
            self._filled.embedded += len(self._rows)
        self._rows, self._embeddings, self._since = [], [], time.monotonic()

    def _decoded(self, pool: Decoder, decoders: int) -> "Iterator[tuple[Row[Any], _Frames | NotEmbedded]]":
        """Yield every missing image with its pixels or why there are none, in order, decoded ahead."""
        ahead: deque[tuple[Row[Any], Future[_Frames | NotEmbedded]]] = deque()
        threads = ThreadPoolExecutor(decoders, thread_name_prefix="reembed")
        try:
            for row in self._missing():
                ahead.append((row, threads.submit(self._decode, pool, row)))
                if len(ahead) > READ_AHEAD * decoders:
                    first, waiting = ahead.popleft()
                    yield first, waiting.result()
            for first, waiting in ahead:
                yield first, waiting.result()
        finally:
            threads.shutdown(wait=True, cancel_futures=True)

    def _missing(self) -> Iterator[Row[Any]]:
        last = 0
        while page := self._upgrade.missing(self._space_id, after=last, limit=PAGE_IMAGES):
            yield from (row for row in page if row.content_id not in self._done)
            last = page[-1].id

    def _decode(self, pool: Decoder, row: Row[Any]) -> "_Frames | NotEmbedded":
        try:
            data = self._read(row.uri)
            if hashlib.sha256(data).digest() != bytes(row.sha256):
                detail = "its file holds other bytes than were indexed; run `lookalike index` on it first"
                return NotEmbedded(row.uri, CHANGED, detail)
            image = pool.decode(data, row.uri)
            return _Frames(image.pixels, image.regions)
        except BadImage as error:
            return NotEmbedded(row.uri, error.reason, error.detail)
