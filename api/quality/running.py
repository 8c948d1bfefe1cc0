"""Composition of the quality bench: photographs, references, every method in every mode, one report."""

import csv
import hashlib
import io
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Literal

from api.console import ProgressMode, Session
from api.indexing import IndexRequest, run_index
from api.quality.measuring import Named, row_of
from api.quality.report import QualityReport, Row, TunedBackbone, Tuning, WeightsLabel
from api.quality.store_modes import MODES
from api.quality.tuning import tuned, tuning_of
from api.work_progress import work_progress
from api.workspace import Workspace
from indexer.backbones.backbones import BUILTIN, BUILTIN_PREPARATION, load_backbone
from indexer.backbones.licences import licence_of, require_accepted, require_known
from indexer.decoding.decoder_pool import DecoderPool
from indexer.quality.baselines import Bits, HashMode, pdq_bits, pdq_is_installed, perceptual_bits
from indexer.quality.bundled import bundled_photos
from indexer.quality.collection import HARD, IDENTICAL, Bench, BenchOptions, build_bench, build_tuning
from indexer.quality.edits import STRATA
from indexer.quality.modes import Mode, Ranked, Ranking, ranked_by
from indexer.quality.originals import Gathered, gather_bundled, gather_folder
from indexer.quality.shelf import Shelf
from search.errors import LookalikeError
from search.records import AVERAGE, Pooling, displayable

RANDOM = "random"  # instead of a weights file
# Hard negatives of their own: what is searched for must not be among them.
KEPT_FOR_HARD = ("brick", "grass", "gravel", "motorcycle_left")
BUNDLED = "photographs of installed packages"


@dataclass(frozen=True, slots=True)
class MeasuredBackbone:
    """A backbone to measure. weights: a file, RANDOM for a network that was never trained, None for the usual ones.

    pooling, size: of its space, as `index` takes them. regions: its references are indexed in regions, too.
    """

    name: str = BUILTIN
    weights: str | None = None
    pooling: Pooling = AVERAGE
    size: int | Literal["test"] | None = None
    regions: bool = False

    @property
    def label(self) -> WeightsLabel:
        """What the rows say about its weights."""
        if self.name == BUILTIN:
            return "built-in"
        return "random" if self.weights == RANDOM else "pretrained"

    @property
    def method(self) -> str:
        """What its rows are called."""
        told = [] if self.weights in (None, RANDOM) else [Path(str(self.weights)).stem]
        told += [] if self.pooling == AVERAGE else [self.pooling]
        told += [] if self.size is None else [f"{self.size} px" if isinstance(self.size, int) else "test size"]
        told += ["regions"] if self.regions else []
        return f"{self.name} ({', '.join(told)})" if told else self.name

    @property
    def collection(self) -> str:
        """The name of its collection in the bench's store."""
        if self == MeasuredBackbone(self.name):
            return self.name
        told = f"{self.name} {self.weights} {self.pooling} {self.size}{' regions' * self.regions}".encode()
        return f"{self.name}-{hashlib.sha256(told).hexdigest()[:8]}"


@dataclass(frozen=True, slots=True)
class QualityRequest:
    """The options of `quality`. folder: of photographs, None for the bundled ones. keep: where the files stay.

    tune: whether the transforms of embeddings are compared, too.
    """

    folder: Path | None
    bench: BenchOptions
    backbones: tuple[MeasuredBackbone, ...] = (MeasuredBackbone(),)
    keep: Path | None = None
    device: str = "auto"
    workers: int | None = None
    accept_license: str | None = None
    tune: bool = False


@dataclass(frozen=True, slots=True)
class Measured:
    """A report, and the bench whose files it names: they go when the context that made it ends."""

    report: QualityReport
    bench: Bench


@contextmanager
def measured_quality(session: Session, request: QualityRequest) -> Iterator[Measured]:
    """Run everything and give the report, while the pictures it names are still there.

    Raises:
        UsageError: the photographs are too few, or an option means nothing.
        GuardRefused: the folder to keep holds something else.
        LookalikeError: by name, whatever stopped it.
    """
    with ExitStack() as stack:
        root = request.keep
        if root is None:
            root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lookalike-quality-")))
        shelf = Shelf(root, _settings(request))
        _require_backbones(request, shelf)
        gathered = _gathered(session.progress, request, shelf)
        with work_progress(session.progress, "prepared", "images") as advance:
            bench = build_bench(gathered.originals, shelf, request.bench, advance)
            to_tune = build_tuning(gathered.originals, shelf, request.bench, advance) if request.tune else None
        runner = _Runner(session, request, bench)
        rows = [row for one in request.backbones for row in runner.backbone(one)] + runner.baselines()
        tuning = None if to_tune is None else runner.tuning(to_tune)
        report = QualityReport(
            displayable(request.folder) if request.folder is not None else BUNDLED,
            request.bench.seed,
            _counts(gathered, bench),
            gathered.left_out,
            request.bench.kinds,
            rows,
            runner.remarks,
            tuning,
        )
        yield Measured(report, bench)


def _settings(request: QualityRequest) -> dict[str, object]:
    return {
        "format": 1,
        "photographs": BUNDLED if request.folder is None else str(request.folder.resolve()),
        "seed": request.bench.seed,
        "distractors": request.bench.distractors,
        "queries": request.bench.queries,
        "edits": [edit.name for edit in request.bench.kinds],
    }


def _require_backbones(request: QualityRequest, shelf: Shelf) -> None:
    """Refuse what cannot be loaded before minutes are spent on the bench.

    Raises:
        LookalikeError: by name: no such backbone, no weights, a licence nobody agreed to, ...
    """
    require_known(request.accept_license)
    for one in request.backbones:
        if one != MeasuredBackbone():
            require_accepted(licence_of(one.name), request.accept_license, one.name)
            weights = _weights(one, shelf, request.bench.seed)
            load_backbone(one.name, weights=weights, size=one.size, pooling=one.pooling, device=request.device)


def _weights(one: MeasuredBackbone, shelf: Shelf, seed: int) -> Path | None:
    """Return the weights file of a backbone, None for the usual weights."""
    if one.weights != RANDOM:
        return None if one.weights is None else Path(one.weights).expanduser()
    from indexer.quality.random_weights import write_random_weights

    file = shelf.root / "weights" / f"{one.name}-random.safetensors"
    return file if file.exists() else write_random_weights(one.name, file, seed)


def _gathered(mode: ProgressMode, request: QualityRequest, shelf: Shelf) -> Gathered:
    if request.folder is None:
        photos = [photo for photo in bundled_photos() if photo.file.stem not in KEPT_FOR_HARD]
        return gather_bundled(photos, shelf)
    with (
        DecoderPool(BUILTIN_PREPARATION, children=1) as pool,
        work_progress(mode, "photographs read", "images") as advance,
    ):
        return gather_folder(request.folder, shelf, pool, request.bench.seed, advance)


def _counts(gathered: Gathered, bench: Bench) -> dict[str, int]:
    sources = len({original.source for original in gathered.originals})
    strata = Counter(query.stratum for query in bench.queries)
    parts = {"hard": strata[HARD], "copies": strata[IDENTICAL], "edited": sum(strata[one] for one in STRATA)}
    every = {"photographs": sources, "references": len(bench.references), "queries": len(bench.queries)}
    return every | parts | dict(bench.counts)


class _Runner:
    """Runs one method after the other over a bench."""

    def __init__(self, session: Session, request: QualityRequest, bench: Bench) -> None:
        self.remarks: list[str] = []
        self._session = session
        self._request = request
        self._bench = bench
        self._threads = request.workers or os.cpu_count() or 1

    def backbone(self, one: MeasuredBackbone) -> list[Row]:
        """Return the rows of a backbone, one for each mode."""
        references, protocol = self._bench.references, self._bench.protocol
        self._index(one, one.collection, references, "references.csv")
        self._index(one, _grouped(one), protocol, "imagededup.csv")
        with self._workspace(one) as workspace:
            target, groups = workspace.collection(one.collection), workspace.collection(_grouped(one))
            rows = []
            for make in MODES:
                mode = make(workspace, target, references)
                named = Named(one.method, one.label, mode.name, tells_identical=True, same_from=mode.same_from)
                rows.append(self._row(named, mode, make(workspace, groups, protocol)))
            return rows

    def baselines(self) -> list[Row]:
        """Return the rows of the hashes that are installed."""
        rows = [self._hash("pHash, 256 bits", perceptual_bits)]
        if pdq_is_installed():
            return [*rows, self._hash("PDQ, 256 bits", pdq_bits)]
        self.remarks.append("PDQ is left out: pdqhash is not installed (`pip install pdqhash`)")
        return rows

    def tuning(self, bench: Bench) -> Tuning:
        """Return what each transform finds with each backbone. bench: of the tuning half."""
        return tuning_of(bench, [self._tuned(one, bench) for one in self._request.backbones if not one.regions])

    def _tuned(self, one: MeasuredBackbone, bench: Bench) -> TunedBackbone:
        name = f"{one.collection} tuning"
        self._index(one, name, bench.references, "tuning.csv", local=False)
        with (
            self._workspace(one) as workspace,
            work_progress(self._session.progress, "asked (tuning)", "queries") as advance,
        ):
            target = workspace.collection(name)
            table = tuned(workspace, target, bench, self._threads, advance)
            return TunedBackbone(one.method, one.label, target.space.dims, table)

    def _workspace(self, one: MeasuredBackbone) -> Workspace:
        store = self._bench.shelf.root / "store"
        weights = self._weights(one)
        return Workspace(store, device=self._request.device, weights=weights, children=self._threads, lasting=True)

    def _hash(self, name: str, hash_of: Callable[[bytes], Bits]) -> Row:
        with work_progress(self._session.progress, f"hashed ({name})", "images") as advance:
            in_references = HashMode(name, hash_of, self._bench.shelf, self._bench.references, advance)
        in_groups = HashMode(name, hash_of, self._bench.shelf, self._bench.protocol, lambda _done, _total: None)
        return self._row(Named(name, "hash"), in_references, in_groups)

    def _row(self, named: Named, in_references: Mode, in_groups: Mode) -> Row:
        timed = _Timed(in_references)
        ranked = self._ranked(timed, [query.file for query in self._bench.queries], "")
        grouped = self._ranked(in_groups, self._bench.protocol, ", imagededup's protocol")
        return row_of(named, self._bench, ranked, grouped, timed.median_ms())

    def _ranked(self, mode: Mode, files: Sequence[str], which: str) -> Ranked:
        """Return the answers of a mode. which: of its two sets of queries, so that their counts are not mixed up."""
        with work_progress(self._session.progress, f"asked ({mode.name}{which})", "queries") as advance:
            return ranked_by(mode, self._bench.shelf, files, self._threads, advance)

    def _index(
        self, one: MeasuredBackbone, collection: str, files: Sequence[str], manifest_name: str, *, local: bool = True
    ) -> None:
        """Index references with the product itself. local: with local features, for accurate searches.

        Raises:
            LookalikeError: some of them could not be indexed.
        """
        shelf = self._bench.shelf
        manifest = shelf.root / shelf.put(manifest_name, lambda: _manifest(files))
        session = Session(shelf.root / "store", collection, json=False, progress=self._session.progress)
        request = IndexRequest(
            [str(manifest)],
            one.name,
            self._weights(one),
            size=one.size,
            pooling=one.pooling,
            device=self._request.device,
            workers=self._request.workers,
            local=local,
            accept_license=self._request.accept_license,
            regions=one.regions,
        )
        summary, _ = run_index(session, request)
        if summary.counts.failed:
            raise LookalikeError(
                f"{summary.counts.failed} references of the bench could not be indexed in {shelf.root}"
            )

    def _weights(self, one: MeasuredBackbone) -> Path | None:
        return _weights(one, self._bench.shelf, self._request.bench.seed)


class _Timed:
    """A mode with a watch."""

    def __init__(self, mode: Mode) -> None:
        self.name = mode.name
        self._mode = mode
        self._seconds: list[float] = []

    def rank(self, query: bytes, name: str) -> Ranking:
        began = time.perf_counter()
        answer = self._mode.rank(query, name)
        self._seconds.append(time.perf_counter() - began)
        return answer

    def median_ms(self) -> float:
        return 1000 * median(self._seconds)


def _grouped(one: MeasuredBackbone) -> str:
    """Return the name of the collection of imagededup's groups."""
    return f"{one.collection} imagededup"


def _manifest(files: Sequence[str]) -> bytes:
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow(("path", "key"))
    rows.writerows((file, file) for file in files)
    return text.getvalue().encode()
