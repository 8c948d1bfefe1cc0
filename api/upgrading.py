"""Composition of a space upgrade: store, backbone, decoding children, the job, and the comparison of both spaces."""

import os
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from api.console import Session
from api.work_progress import work_progress
from indexer.backbones.backbones import load_backbone
from indexer.backbones.licences import asks_for_consent, licence_of, require_accepted, require_known
from indexer.decoding.decoder_pool import DecoderPool
from indexer.decoding.resizing import resizer, threads_afterwards
from indexer.jobs.reembed_images import ReembedJob, ReembedOptions
from indexer.sources.stored_files import StoredFiles
from search.records import AVERAGE, Collection, Pooling, SpaceSpec
from search.spaces.space_comparison import compare_spaces
from search.spaces.space_upgrade import SpaceUpgrade
from search.storing.store import Store


@dataclass(frozen=True, slots=True)
class ReembedRequest:
    """The options of `reembed`. samples: stored images that serve as queries for the comparison, chosen by seed."""

    backbone: str
    weights: Path | None = None
    mode: Literal["full", "card"] = "full"
    size: int | Literal["test"] | None = None
    pooling: Pooling = AVERAGE
    dims: int | None = None
    dct_scaling: bool = False
    device: str = "auto"
    batch_size: int | None = None
    workers: int | None = None
    accept_license: str | None = None
    samples: int = 200
    seed: int = 0


def run_reembed(session: Session, request: ReembedRequest) -> dict[str, object]:
    """Fill another space of the session's collection and compare both; return what the `reembed` command prints.

    Asked for the space the collection is in, it embeds the images that lack an embedding there.

    Raises:
        UsageError: the collection is in this space already, and complete.
        LookalikeError: by name, whatever else stopped it.
        KeyboardInterrupt: after what was embedded became durable.
    """
    with ExitStack() as stack:
        store = stack.enter_context(Store(session.store))
        target = store.catalogue.collection(session.collection)
        upgrade = SpaceUpgrade(store, target)
        accepted = _consent(store, upgrade, request)
        backbone = load_backbone(
            request.backbone,
            weights=request.weights,
            mode=request.mode,
            size=request.size,
            pooling=request.pooling,
            dims=request.dims,
            dct_scaling=request.dct_scaling,
            device=request.device,
        )
        mending = _is_mending(upgrade, target, backbone.space)
        begun = None if mending else upgrade.begin(backbone.space, accepted=accepted)
        space_id = target.space_id if begun is None else begun.to_space_id
        children = request.workers or os.cpu_count() or 1
        # Threads of the job tell torch to keep to one core each, which later threads would inherit.
        stack.enter_context(threads_afterwards())
        resize = resizer(backbone.preparation)
        regions = target.regions_rule > 0
        decoding = DecoderPool(backbone.preparation, children=children, resize=resize, regions=regions)
        pool = stack.enter_context(decoding)
        job = ReembedJob(upgrade, space_id, backbone, StoredFiles(in_order=True).read)
        options = ReembedOptions(
            batch_size=request.batch_size or backbone.batch_size,
            decoders=children,
            labeller=backbone.labeller_if_any() if target.labels else None,
        )
        with work_progress(session.progress, "embedded again", "images") as advance:
            filled = job.run(pool, options, advance)
        shape: dict[str, object] = {
            "collection": target.name,
            "space": backbone.space.name,
            "backbone": backbone.space.backbone,
        }
        shape |= filled.as_json() | {"missing": upgrade.count_missing(space_id)}
        if begun is None:
            return shape | {"state": "mended", "comparison": None}
        renewed = store.catalogue.collection(target.name)
        with work_progress(session.progress, "compared", "images") as advance:
            other = SpaceUpgrade(store, renewed).in_space(space_id)
            compared = compare_spaces(
                store, renewed, other, samples=request.samples, seed=request.seed, progress=advance
            )
        shape |= {"state": "ready", "comparison": compared.as_json()}
        upgrade.finish(begun, shape)
        return shape


def _is_mending(upgrade: SpaceUpgrade, target: Collection, wanted: SpaceSpec) -> bool:
    return wanted.fingerprint == target.space.fingerprint and upgrade.count_unfinished(target.space_id) > 0


def _consent(store: Store, upgrade: SpaceUpgrade, request: ReembedRequest) -> str | None:
    """Return the licence that was agreed to and is to be recorded, None when there is none.

    Raises:
        LicenceNotAccepted: the weights need consent, and have it neither from now nor from before.
        UsageError: it was given to another licence.
    """
    require_known(request.accept_license)
    licence = licence_of(request.backbone)
    accepted = request.accept_license or upgrade.consent_to(request.backbone) or store.settings.accept_license
    require_accepted(licence, accepted, request.backbone)
    return licence if asks_for_consent(licence) else None
