"""Read, decode, batch: the threads between the walk and the backbone, with bounded queues in between.

    walk -> plan -> [read] -> hash -> [decode] -> prepared pixels -> caller

A file the catalogue knows unchanged never leaves the plan; a content that is known by its sha256 is never decoded.
Either goes all the way where labels, regions or local features are wanted and its content has none yet.
"""

import hashlib
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath

from indexer.decoding.decoding import Decoder
from indexer.decoding.formats import IMAGE_SUFFIXES
from indexer.jobs.channel import Channel, Stage
from indexer.jobs.new_pictures import facts_of
from indexer.jobs.outcomes import Failed, Ignored, Known, Outcome, Prepared, Unchanged
from indexer.jobs.planning import Planning, Wanted, carried_bytes, described, require_sha256
from indexer.sources.found import UnchangedArchive
from indexer.sources.sources import Found, FoundFile, IgnoredFile, UnreadableFile, read_file
from search.errors import BadImage
from search.geometry.local_features import record_of
from search.records import Collection, LedgerEntry
from search.storing.catalogue import Catalogue, KnownFile
from search.storing.origins import Origins
from search.storing.region_rows import contents_without_regions

log = logging.getLogger(__name__)

PLAN_FILES = 256
READ_THREADS = 2
READ_FILES = 32  # that one reader takes, and looks up together
READ_BYTES = 8 << 20  # that it holds at once, the last file on top
CARRIED_BYTES = 64 << 20  # of pictures out of streamed archives that wait to be looked up
# A file that killed or stalled its decoder this often is not tried again until it changes.
QUARANTINE_ATTEMPTS = 2
QUARANTINE_REASONS = frozenset({"decoder_crashed", "decoder_timeout", "out_of_memory"})


@dataclass(frozen=True, slots=True)
class PipelineLimits:
    """decoders: threads that wait for decoding children. ready_images: prepared pictures that may wait.

    labels, regions, local: contents without labels, regions, or local features, are wanted, too. readers: threads that
    read files; remote ones need many. retry: files are tried again however often they killed a decoder.
    """

    decoders: int
    ready_images: int
    max_file_bytes: int
    labels: bool = False
    readers: int = READ_THREADS
    retry: bool = False
    regions: bool = False
    local: bool = False


class Pipeline:
    """Turns found files into outcomes. Iterate over `take`, then `close`."""

    def __init__(
        self,
        found: Iterable[Found],
        catalogue: Catalogue,
        origins: Origins,
        target: Collection,
        pool: Decoder,
        limits: PipelineLimits,
    ) -> None:
        self.seen_ids: list[int] = []
        self.named_ids: list[int] = []  # of rows of manifests that gave no picture
        self._catalogue = catalogue
        self._database = origins.database
        self._origins = origins
        self._planning = Planning(catalogue, origins, target)
        self._target = target
        self._pool = pool
        self._max_file_bytes = limits.max_file_bytes
        self._labels = limits.labels
        self._regions = limits.regions
        self._local = limits.local
        self._retry = limits.retry
        decoders = limits.decoders
        self._to_read: Channel[list[Wanted]] = Channel(
            2 * PLAN_FILES // READ_FILES, producers=1, weigh=_carried, max_bytes=CARRIED_BYTES
        )
        # Whole files wait here, so few of them.
        self._to_decode: Channel[_ToDecode] = Channel(2 * decoders, producers=limits.readers)
        self._outcomes: Channel[Outcome] = Channel(limits.ready_images, producers=1 + limits.readers + decoders)
        everything: list[Channel[object]] = [self._outcomes, self._to_decode, self._to_read]  # type: ignore[list-item]
        self._everything = everything
        self._plan_stage = Stage(self._plan, _grouped(found), [everything[0], everything[2]], threads=1)
        self._read_stage = Stage(self._read, self._to_read, everything[:2], threads=limits.readers)
        self._decode_stage = Stage(self._decode, self._to_decode, everything[:1], threads=decoders)

    def start(self) -> None:
        """Start the threads."""
        for stage in (self._plan_stage, self._read_stage, self._decode_stage):
            stage.start()

    def take(self, timeout_s: float) -> Outcome | None:
        """Return the next outcome, None when none came in time or all is done (see `ended`)."""
        return self._outcomes.get(timeout_s)

    @property
    def ended(self) -> bool:
        """Whether every file has had its outcome taken."""
        return self._outcomes.ended

    def busy_seconds(self) -> dict[str, float]:
        """Return how long the threads of each stage have worked, per thread."""
        return {"read": self._read_stage.busy_share, "decode": self._decode_stage.busy_share}

    def close(self) -> None:
        """Stop all threads, also in the middle of their work."""
        for channel in self._everything:
            channel.abort(InterruptedError("the pipeline was closed"))

    def _plan(self, group: Sequence[Found]) -> None:
        files = [found for found in group if isinstance(found, FoundFile)]
        uris = [file.uri for file in files]
        known = self._planning.known(files)
        ledger = self._catalogue.failures_at(self._target.id, uris)
        self._tell_unreadable(group, len(files))
        unfinished = self._unfinished([stored.content_id for stored in known if stored is not None])
        unchanged: list[tuple[FoundFile, KnownFile]] = []
        changed: list[Wanted] = []
        for file, stored in zip(files, known, strict=True):
            if stored is not None:
                self.seen_ids.append(stored.image_id)
            entry = ledger.get(file.uri)
            if entry is not None and not self._retry and _quarantined(file, entry):
                detail = f"{entry.detail}; tried {entry.attempts} times"
                self._outcomes.put(Failed(file.uri, entry.reason, detail, fresh=False))
            elif entry is None and stored is not None and _same(file, stored) and stored.content_id not in unfinished:
                unchanged.append((file, stored))
            else:
                changed.append(Wanted(file, stored))
        redescribed = self._planning.redescribed(unchanged)
        for file, stored in redescribed:
            self._outcomes.put(Known(file, stored.content_id))
        if len(unchanged) > len(redescribed):
            self._outcomes.put(Unchanged(len(unchanged) - len(redescribed)))
        self._pass_on(changed)

    def _tell_unreadable(self, group: Sequence[Found], files: int) -> None:
        ignored = len(group) - files
        named = [one.named for one in group if isinstance(one, UnreadableFile | IgnoredFile) and one.named is not None]
        if named:
            self.named_ids += self._planning.named(named)
        for found in group:
            if isinstance(found, UnreadableFile):
                self._outcomes.put(Failed(found.uri, found.reason, found.detail, found.size_bytes, found.mtime_ns))
                ignored -= 1
            elif isinstance(found, UnchangedArchive):
                self._tell_unchanged(found)
                ignored -= 1
        if ignored:
            self._outcomes.put(Ignored(ignored))

    def _tell_unchanged(self, archive: UnchangedArchive) -> None:
        failures = self._origins.failures_in(archive.uri)
        for failure in failures:
            self._outcomes.put(Failed(*failure, fresh=False))
        self._outcomes.put(Unchanged(max(0, archive.images - len(failures))))

    def _pass_on(self, changed: list[Wanted]) -> None:
        for start in range(0, len(changed), READ_FILES):
            self._to_read.put(changed[start : start + READ_FILES])

    def _read(self, files: Sequence[Wanted]) -> None:
        waiting: list[_Read] = []
        for wanted in files:
            try:
                data = read_file(wanted.file, self._max_file_bytes)
                sha256 = hashlib.sha256(data).digest()
                require_sha256(wanted.file, sha256)
            except BadImage as error:
                self._outcomes.put(_failed(wanted.file, error))
                continue
            waiting.append(_Read(self._described(wanted.file), data, sha256, wanted.stored))
            if sum(len(one.data) for one in waiting) >= READ_BYTES:
                self._look_up(waiting)
                waiting = []
        self._look_up(waiting)

    def _described(self, file: FoundFile) -> FoundFile:
        """Return a file with the metadata beside it, and without what it was read from."""
        try:
            return described(file)
        except BadImage as error:
            assert file.sidecar is not None  # noqa: S101 -- nothing else can be wrong with metadata here
            self._outcomes.put(Failed(file.sidecar.uri, error.reason, error.detail))
            # With another date than it has, so that the next run looks at the sidecar again.
            return replace(file, mtime_ns=file.mtime_ns - 1, sidecar=None)

    def _look_up(self, files: Sequence["_Read"]) -> None:
        """Send contents that are known by their hash past the decoders. One query serves many files."""
        known = self._catalogue.embedded_contents(self._target.space_id, [one.sha256 for one in files])
        contents = [*known.values()]
        unlabelled, unregioned = self._unlabelled(contents), self._unregioned(contents)
        unseen = self._without_local(contents)
        for one in files:
            content_id = known.get(one.sha256)
            if content_id is not None and content_id not in unlabelled | unregioned | unseen:
                self._outcomes.put(Known(one.file, content_id))
                continue
            new = content_id is None
            regions = self._regions and (new or content_id in unregioned)
            local = self._local and (new or content_id in unseen)
            embeds = new or regions or content_id in unlabelled
            self._to_decode.put(_ToDecode(one, content_id, embeds=embeds, regions=regions, local=local))

    def _unfinished(self, content_ids: Sequence[int]) -> set[int]:
        """Return those of the contents whose file is needed although they have their embedding."""
        return self._unlabelled(content_ids) | self._unregioned(content_ids) | self._without_local(content_ids)

    def _unregioned(self, content_ids: Sequence[int]) -> set[int]:
        """Return those of the contents that wait for the embeddings of their regions."""
        if not self._regions:
            return set()
        return contents_without_regions(self._database, self._target.space_id, content_ids)

    def _unlabelled(self, content_ids: Sequence[int]) -> set[int]:
        """Return those of the contents that wait for labels."""
        return self._catalogue.labels.missing(self._target.space_id, content_ids) if self._labels else set()

    def _without_local(self, content_ids: Sequence[int]) -> set[int]:
        """Return those of the contents that wait for local features."""
        return self._catalogue.local.missing(content_ids) if self._local else set()

    def _decode(self, item: "_ToDecode") -> None:
        read, file = item.read, item.read.file
        try:
            image = self._pool.decode(read.data, file.uri)
        except BadImage as error:
            log.info("%s: %s", file.uri, error)
            self._outcomes.put(_failed(file, error))
            return
        facts = facts_of(image, read.sha256, len(read.data))
        regions = image.regions if item.regions else None
        local = record_of(image.keypoints) if item.local and image.keypoints is not None else None
        shown = Prepared(file, facts, image.pixels, item.content_id, read.stored, regions, local, item.embeds)
        self._outcomes.put(shown)


@dataclass(frozen=True, slots=True)
class _Read:
    """A file that was read. stored: as of `Prepared`."""

    file: FoundFile
    data: bytes
    sha256: bytes
    stored: KnownFile | None


@dataclass(frozen=True, slots=True)
class _ToDecode:
    """A file that was read. content_id: its content, when only labels, regions or local features of it are wanted.


    embeds: whether anything of it is to be embedded or labelled. regions, local: whether its regions and its local
    features are missing.
    """

    read: _Read
    content_id: int | None
    embeds: bool
    regions: bool
    local: bool


def _grouped(found: Iterable[Found]) -> Iterator[list[Found]]:
    group: list[Found] = []
    carried = 0
    for one in found:
        group.append(one)
        carried += carried_bytes(one)
        if len(group) >= PLAN_FILES or carried >= READ_BYTES:
            yield group
            group, carried = [], 0
    if group:
        yield group


def _carried(files: Sequence[Wanted]) -> int:
    return sum(carried_bytes(wanted.file) for wanted in files)


def _same(file: FoundFile, stored: KnownFile | LedgerEntry) -> bool:
    return (stored.uri, stored.size_bytes, stored.mtime_ns) == (file.uri, file.size_bytes, file.mtime_ns)


def _quarantined(file: FoundFile, entry: LedgerEntry) -> bool:
    return _same(file, entry) and entry.reason in QUARANTINE_REASONS and entry.attempts >= QUARANTINE_ATTEMPTS


def _failed(file: FoundFile, error: BadImage) -> Failed:
    reason = error.reason
    if reason == "not_an_image" and PurePath(file.path).suffix.lower() not in IMAGE_SUFFIXES:
        reason = "unsupported_format"  # it never claimed to be a picture; the user named it
    return Failed(file.uri, reason, error.detail, file.size_bytes, file.mtime_ns)
