"""Composition of the index journey: store, backbone, decoding children, job."""

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from api.console import Session, say
from api.progress import Silent, index_progress
from api.watch_progress import keep_watching
from indexer.backbones.backbones import BUILTIN, load_backbone, load_for_space, pooling_in, refuse_for_builtin
from indexer.backbones.labelling import Labeller
from indexer.backbones.licences import asks_for_consent, licence_of, require_accepted, require_known
from indexer.backbones.prepared_backbone import PreparedBackbone
from indexer.backbones.registry import find
from indexer.decoding.decoder_pool import DecoderPool
from indexer.decoding.decoding import Decoder
from indexer.decoding.preparation import Preparation
from indexer.decoding.resizing import resizer, threads_afterwards
from indexer.jobs.index_images import IndexJob, IndexOptions
from indexer.jobs.progress import Progress
from indexer.jobs.summary import IndexSummary
from indexer.sources.sources import Source, resolve
from indexer.sources.watching import Burst, Watcher
from search.errors import CollectionNotFound, GuardRefused, SpaceMismatch, UsageError
from search.records import AVERAGE, Collection, Pooling
from search.settings import FILE, accepted_by_environment
from search.storing.origins import Origins
from search.storing.store import Store

if TYPE_CHECKING:
    from indexer.decoding.device_frames import DeviceFrames


@dataclass(frozen=True, slots=True)
class IndexRequest:
    """The options of `index`.

    backbone None: the collection's own, `builtin` for a new one. mode, size, pooling, dims, dct_scaling, labels,
    regions and local None: as the collection remembers; a new one has neither labels nor regions nor local features.
    accept_license: the licence of weights that the user agrees to. decode: where JPEGs are decoded, cpu or gpu.
    exclude: globs of files to pass over. prune, max_fraction: as of IndexOptions. watch: go on with what changes below
    local folders, until interrupted. retry: the sources are files of the ledger, tried however often they failed.
    """

    sources: list[str]
    backbone: str | None = None
    weights: Path | None = None
    mode: Literal["full", "card"] | None = None
    size: int | Literal["test"] | None = None
    pooling: Pooling | None = None
    dims: int | None = None
    dct_scaling: bool | None = None
    device: str = "auto"
    batch_size: int | None = None
    workers: int | None = None
    labels: bool | None = None
    local: bool | None = None
    accept_license: str | None = None
    decode: str = "cpu"
    exclude: tuple[str, ...] = ()
    prune: bool = False
    max_fraction: float | None = None
    watch: bool = False
    retry: bool = False
    regions: bool | None = None


Telling = Callable[[Sequence[Source]], AbstractContextManager[Progress]]
Note = Callable[[str], None]


def run_index(
    session: Session, request: IndexRequest, told: Telling | None = None, note: Note = say
) -> tuple[IndexSummary, bool]:
    """Index the sources into the session's collection; return the summary and whether the store is new.

    told: gives whom to tell how far it is, by the sources; None for people, as the session says. note: takes what else
    people should know, a sentence at a time.

    With `watch`, the summary is that of all passes until Ctrl-C or SIGTERM came while nothing was being indexed.

    Raises:
        LookalikeError: by name, whatever stopped it.
        KeyboardInterrupt: after what was embedded became durable.
    """
    created = not (session.store / FILE).exists()
    with ExitStack() as stack:
        store = None if created else stack.enter_context(Store(session.store))
        known = _collection(store, session.collection)
        sources = _sources(store, known, request, note)
        watcher = stack.enter_context(Watcher(sources, session.store)) if request.watch else None
        # All that can be refused comes first: it must leave neither a store nor a download behind.
        accepted = _consent(store, known, request)
        local = _local(known, request)
        gpu = _decoding_gpu(request)
        backbone = _backbone(known, request)
        regions = _wants_regions(known, request)
        frames = None if gpu is None else _device_frames(gpu, backbone.preparation)
        labeller = _labeller(known, request, backbone, note)
        store = store or stack.enter_context(Store.create(session.store))
        target = store.open_collection(
            session.collection,
            backbone.space,
            accepted=accepted,
            labels=request.labels,
            regions=request.regions,
            local=request.local,
        )
        children = request.workers or os.cpu_count() or 1
        # Threads of the job tell torch to keep to one core each, which later threads would inherit.
        stack.enter_context(threads_afterwards())
        children_pool = DecoderPool(
            backbone.preparation,
            children=children,
            resize=resizer(backbone.preparation),
            regions=regions,
            keypoints=local,
        )
        pool: Decoder = stack.enter_context(children_pool)
        decoders = children
        if frames is not None:
            from indexer.decoding.gpu_decoding import CALLERS, GpuDecoder

            pool, decoders = stack.enter_context(GpuDecoder(children_pool, frames)), max(children, CALLERS)
        options = IndexOptions(
            batch_size=request.batch_size or backbone.batch_size,
            decoders=decoders,
            labeller=labeller,
            prune=request.prune,
            max_fraction=request.max_fraction,
            retry=request.retry,
            local=local,
        )
        with (told or partial(index_progress, session.progress))(sources) as progress:
            summary = IndexJob(store, target, backbone, sources, progress).run(pool, options)
        if watcher is not None:
            jobs = _PartialJobs(store, target, backbone, pool, options)
            summary = keep_watching(session.progress, summary, watcher.bursts(), jobs.run)
        return summary, created


@dataclass(frozen=True, slots=True)
class _PartialJobs:
    """Indexes what changed, with everything that the first pass has loaded."""

    store: Store
    target: Collection
    backbone: PreparedBackbone
    pool: Decoder
    options: IndexOptions

    def run(self, burst: Burst) -> IndexSummary:
        job = IndexJob(self.store, self.target, self.backbone, burst.sources, Silent(), burst.part)
        return job.run(self.pool, self.options)


def _decoding_gpu(request: IndexRequest) -> str | None:
    """Return the GPU that JPEGs are to be decoded on, None for the CPU, which needs no torch.

    Raises:
        UsageError: as `decoding_device`.
    """
    if request.decode == "cpu":
        return None
    from indexer.decoding.gpu_decoding import decoding_device

    return decoding_device(request.decode, request.device, dct_scaling=bool(request.dct_scaling))


def _device_frames(gpu: str, preparation: Preparation) -> "DeviceFrames":
    from indexer.decoding.device_frames import DeviceFrames, torchvision_decoder

    return DeviceFrames(torchvision_decoder(gpu), preparation, gpu)


def _wants_regions(known: Collection | None, request: IndexRequest) -> bool:
    """Return whether pictures are embedded in their regions, too.

    Raises:
        UsageError: they are, but JPEGs are to be decoded where only their frames are made.
    """
    remembered = known is not None and known.regions_rule > 0
    wanted = remembered if request.regions is None else request.regions
    if wanted and request.decode != "cpu":
        raise UsageError("regions are cut where pictures are decoded on the CPU: say --decode cpu, or --no-regions")
    return wanted


def _labeller(
    known: Collection | None, request: IndexRequest, backbone: PreparedBackbone, note: Note
) -> Labeller | None:
    """Return what labels new images, None when nobody wants that, or only the collection remembers it and nothing can.

    Raises:
        UsageError: labels are asked for now, of a backbone without a classifier.
    """
    if request.labels is not None or known is None:
        return backbone.labeller() if request.labels else None
    labeller = backbone.labeller_if_any() if known.labels else None
    if known.labels and labeller is None:
        note(f"{backbone.space.backbone} names nothing: new images get no labels; --no-labels stops asking for them")
    return labeller


def _local(known: Collection | None, request: IndexRequest) -> bool:
    """Return whether new images get local features.

    Raises:
        UsageError: they do, and JPEGs are to be decoded on a GPU, where nothing finds keypoints.
    """
    wanted = request.local if request.local is not None else known is not None and known.local
    if wanted and request.decode != "cpu":
        raise UsageError("local features are found where pictures are decoded: use --decode cpu, or --no-local")
    return wanted


def _sources(store: Store | None, known: Collection | None, request: IndexRequest, note: Note) -> list[Source]:
    """Return the checked sources.

    Raises:
        UsageError: one of them names nothing that is or was there.
        GuardRefused: none of them can be reached.
    """
    if store is None or known is None:
        return resolve(request.sources, request.exclude)
    sources = resolve(request.sources, request.exclude, Origins(store.database, known.id).was_there)
    offline = [source for source in sources if source.kind == "offline"]
    if offline and len(offline) == len(sources):
        listed = ", ".join(f"{source.path} ({source.detail})" for source in offline)
        raise GuardRefused(f"offline: {listed}; the images that were indexed there are kept")
    for source in offline:
        note(f"offline: {source.path} ({source.detail}); the images that were indexed there are kept")
    return sources


def _collection(store: Store | None, name: str) -> Collection | None:
    try:
        return None if store is None else store.catalogue.collection(name)
    except CollectionNotFound:
        return None


def _consent(store: Store | None, known: Collection | None, request: IndexRequest) -> str | None:
    """Return the licence that was agreed to and is to be recorded, None when there is none.

    Raises:
        LicenceNotAccepted: the weights need consent, and have it neither from now nor from before.
        UsageError: it was given to another licence.
    """
    if known is not None and known.space.is_imported and request.backbone in (None, known.space.backbone):
        return None
    name = request.backbone or (BUILTIN if known is None else known.space.backbone)
    licence = licence_of(name) if known is None or name != known.space.backbone else known.space.licence
    before = None if known is None else known.licence_accepted
    setting = store.settings.accept_license if store is not None else accepted_by_environment()
    require_known(request.accept_license)
    accepted = request.accept_license or before or setting
    require_accepted(licence, accepted, name)
    return licence if asks_for_consent(licence) else None


def _backbone(known: Collection | None, request: IndexRequest) -> PreparedBackbone:
    if known is None or request.backbone not in (None, known.space.backbone):
        return _named(request)
    if known.space.is_imported:
        return load_for_space(known.space)  # which says why there is none
    if known.space.backbone == BUILTIN:
        refuse_for_builtin(weights=request.weights, mode=request.mode, size=request.size, pooling=request.pooling)
    if request.pooling not in (None, known.space.pooling):
        raise SpaceMismatch(
            f"collection {known.name!r} was made with --pool {known.space.pooling}, not with --pool {request.pooling}; "
            "the two cannot be compared: use --collection NAME for a new collection"
        )
    if request.dims not in (None, known.space.dims):
        raise SpaceMismatch(
            f"collection {known.name!r} has embeddings of {known.space.dims} dims, not {request.dims}; the two cannot "
            "be compared: use --collection NAME for a new collection"
        )
    made = Preparation.from_json(known.space.preparation)
    asked = replace(
        request,
        backbone=known.space.backbone,
        mode=request.mode or made.mode,
        size=request.size or made.height,
        dct_scaling=made.dct_scaling if request.dct_scaling is None else request.dct_scaling,
    )
    if (asked.mode, asked.dct_scaling) != (made.mode, made.dct_scaling) or request.size not in (None, made.height):
        # Another preparation is another space. Its weights are those of the collection: the two are told apart by name.
        own_weights = None if known.space.weights in ("hub", "builtin") else Path(known.space.weights)
        _require_same_preparation(known, asked)
        pooling = pooling_in(known.space)
        asked = replace(asked, size=request.size, pooling=pooling, dims=known.space.dims)
        return _named(replace(asked, weights=request.weights or own_weights))
    return load_for_space(known.space, weights=request.weights, device=request.device)


def _require_same_preparation(known: Collection, asked: IndexRequest) -> None:
    """Refuse another preparation before any weights are looked for.

    Raises:
        SpaceMismatch: the collection was made with another one.
    """
    made = Preparation.from_json(known.space.preparation)
    if asked.size == "test":
        return  # what that means, only the model's card can tell
    wanted = (asked.mode, asked.size if isinstance(asked.size, int) else made.height, bool(asked.dct_scaling))
    if wanted != (made.mode, made.height, made.dct_scaling):
        raise SpaceMismatch(
            f"collection {known.name!r} was made with {_shown(made.mode, made.height, made.dct_scaling)}, not with "
            f"{_shown(*wanted)}; the two cannot be compared: use --collection NAME for a new collection"
        )


def _shown(mode: str | None, size: int, dct_scaling: bool) -> str:
    return f"--preprocess {mode} --image-size {size}{' --dct-scaling' if dct_scaling else ''}"


def _named(request: IndexRequest) -> PreparedBackbone:
    name = request.backbone or BUILTIN
    own = find(name)  # a backbone of the user's own sees pictures as it was trained
    return load_backbone(
        name,
        weights=request.weights,
        mode=request.mode or (own.preparation.mode if own is not None else "full"),
        size=request.size,
        pooling=request.pooling or AVERAGE,
        dims=request.dims,
        dct_scaling=bool(request.dct_scaling),
        device=request.device,
    )
