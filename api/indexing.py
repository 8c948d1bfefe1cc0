"""Composition of the index journey: store, backbone, decoding children, job."""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch

from api.console import Session
from api.progress import index_progress
from indexer.backbones import BUILTIN, load_backbone, load_for_space
from indexer.decoder_pool import DecoderPool
from indexer.index_images import IndexJob, IndexOptions, IndexSummary
from indexer.preparation import Preparation
from indexer.sources import resolve
from indexer.torch_backbone import TorchBackbone
from search.errors import CollectionNotFound
from search.settings import FILE
from search.store import Store

CPU_BATCH = 16
BUILTIN_BATCH = 32
GPU_BATCH = 256


@dataclass(frozen=True, slots=True)
class IndexRequest:
    """The options of `index`. backbone None: the collection's own, `builtin` for a new one."""

    sources: list[str]
    backbone: str | None = None
    weights: Path | None = None
    mode: Literal["full", "card"] | None = None
    device: str = "auto"
    batch_size: int | None = None
    workers: int | None = None


def run_index(session: Session, request: IndexRequest) -> tuple[IndexSummary, bool]:
    """Index the sources into the session's collection; return the summary and whether the store is new.

    Raises:
        LookalikeError: by name, whatever stopped it.
        KeyboardInterrupt: after what was embedded became durable.
    """
    sources = resolve(request.sources)
    created = not (session.store / FILE).exists()
    # The backbone first: a name or a file that is wrong must not leave an empty store behind.
    backbone = None if not created and request.backbone is None else _named(request)
    with Store.create(session.store) as store:
        if backbone is None:
            backbone = _remembered(store, session.collection, request)
        target = store.open_collection(session.collection, backbone.space)
        children = request.workers or os.cpu_count() or 1
        batch_size = request.batch_size or _batch_size(backbone)
        torch.set_num_threads(os.cpu_count() or 1)
        with (
            DecoderPool(backbone.preparation, children=children) as pool,
            index_progress(session.progress, sources) as progress,
        ):
            job = IndexJob(store, target, backbone, sources, progress)
            return job.run(pool, IndexOptions(batch_size=batch_size, decoders=children)), created


def _batch_size(backbone: TorchBackbone) -> int:
    if backbone.device.type == "cuda":
        return GPU_BATCH
    return BUILTIN_BATCH if backbone.space.backbone == BUILTIN else CPU_BATCH


def _named(request: IndexRequest) -> TorchBackbone:
    name = request.backbone or BUILTIN
    return load_backbone(name, weights=request.weights, mode=request.mode or "full", device=request.device)


def _remembered(store: Store, name: str, request: IndexRequest) -> TorchBackbone:
    try:
        space = store.catalogue.collection(name).space
    except CollectionNotFound:
        return _named(request)
    if request.mode not in (None, Preparation.from_json(space.preparation).mode):
        # Another mode is another space: open_collection refuses it and names both.
        return _named(replace(request, backbone=space.backbone))
    return load_for_space(space, weights=request.weights, device=request.device)
