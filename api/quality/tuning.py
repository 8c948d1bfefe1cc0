"""The transforms of embeddings that a collection can have, compared on the tuning half of the photographs."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from api.quality.report import TunedBackbone, Tuning
from api.workspace import Workspace
from indexer.quality.collection import Bench
from indexer.query_embedder import QueryEmbedder
from search.calibration.transform_tuning import TransformTable, tune_transforms
from search.records import Collection, Embeddings


def tuning_of(bench: Bench, backbones: Sequence[TunedBackbone]) -> Tuning:
    """Return the run over this bench of the tuning half."""
    counts = bench.counts
    return Tuning(
        counts["searched_for"] + counts["absent"], len(bench.queries), len(bench.references), counts["kinds"], backbones
    )


def tuned(
    workspace: Workspace, target: Collection, bench: Bench, threads: int, progress: Callable[[int, int], None]
) -> TransformTable:
    """Return what each transform finds. target: holds the references of the bench by their files, as they are stored.

    progress: told after each query (done, total).

    Raises:
        BadImage: a query cannot be decoded.
    """
    queries = _asked(workspace.embedder(target), bench, threads, progress)
    return tune_transforms(queries, truth_of(bench), _stored(workspace, target, bench.references))


def truth_of(bench: Bench) -> NDArray[np.int64]:
    """Return the row of the right reference of each query, -1 where there is none."""
    return np.array([query.truth for query in bench.queries], np.int64)


def _asked(embedder: QueryEmbedder, bench: Bench, threads: int, progress: Callable[[int, int], None]) -> Embeddings:
    """Return the embeddings of the queries as any search makes them, (Q, D)."""
    rows = list[Embeddings]()
    executor = ThreadPoolExecutor(threads, "tuning")
    try:
        files = [query.file for query in bench.queries]
        for views in executor.map(lambda file: embedder.view(bench.shelf.read(file), file, every=False).views, files):
            # What shows next to nothing has no view, and resembles nothing.
            rows.append(views if len(views) else np.zeros((1, embedder.space.dims), np.float32))
            progress(len(rows), len(files))
    finally:
        executor.shutdown(cancel_futures=True)
    return np.concatenate(rows)


def _stored(workspace: Workspace, target: Collection, references: Sequence[str]) -> Embeddings:
    """Return the embeddings of the references in their order, (R, D)."""
    ids, embeddings = workspace.snapshot(target).rows()
    records = workspace.store.catalogue.images_by_id(target.id, ids.tolist())
    row_of = {records[image_id].key: row for row, image_id in enumerate(ids.tolist())}
    return embeddings[[row_of[file] for file in references]]
