"""What float16 and fewer dims cost in recall@1, against all dims in float32.

    python -m bench.fewer_dims FOLDER [--dims 128,64] [--backbone NAME --weights FILE] [--queries 600]

The references and the edited queries are those of `lookalike quality FOLDER`, each decoded and embedded once. Every way
compares all of them with all. Intervals are of the differences, over photographs drawn again.
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.photographs import photo_folder
from bench.reporting import heading, write
from indexer.backbones.backbones import load_backbone
from indexer.backbones.fixed_projection import projected
from indexer.backbones.prepared_backbone import PreparedBackbone
from indexer.decoding.decoder_pool import DecoderPool
from indexer.quality.collection import BenchOptions, build_bench
from indexer.quality.edits import STRATA
from indexer.quality.originals import gather_folder
from indexer.quality.shelf import Shelf
from search.embeddings import lengthened, unit_rows
from search.records import Embeddings

DRAWS = 1000
BATCH = 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--dims", default="128,64", help="numbers with commas between them")
    parser.add_argument("--backbone", default="builtin")
    parser.add_argument("--weights", type=Path, help="a safetensors file")
    parser.add_argument("--queries", type=int, default=600)
    parser.add_argument("--distractors", type=int, default=5_000)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows, told = measured(options, Path(folder))
    print(heading(told))
    print("| embeddings | bytes each | " + " | ".join(f"recall@1, {name}" for name in STRATA) + " |")
    print("|---|---|" + "---|" * len(STRATA))
    for row in rows:
        print("| " + " | ".join(str(value) for value in row.values()) + " |")
    write({"rows": rows, "of": told}, options.json)


def measured(options: argparse.Namespace, folder: Path) -> tuple[list[dict[str, object]], str]:
    """Return the rows of the table, and what they are of."""
    backbone = load_backbone(options.backbone, weights=options.weights, device="cpu")
    shelf = Shelf(folder / "shelf", {})
    asked = BenchOptions(distractors=options.distractors, queries=options.queries)
    with DecoderPool(backbone.preparation, children=1) as pool:
        originals = gather_folder(photo_folder(options.folder), shelf, pool, asked.seed, _nobody).originals
        bench = build_bench(originals, shelf, asked, _nobody)
        queries = [query for query in bench.queries if query.stratum in STRATA and query.truth >= 0]
        references = embedded(backbone, pool, shelf, bench.references)
        questions = embedded(backbone, pool, shelf, [query.file for query in queries])
    truth = np.array([query.truth for query in queries])
    strata = np.array([STRATA.index(query.stratum) for query in queries])
    sources = np.array([query.source for query in queries])
    full = backbone.space.dims
    whole = found(unit_rows(questions), unit_rows(references), truth)
    rows = [row_of(f"{full} dims, float32", 4 * full, whole, whole, strata, sources)]
    for dims in (full, *(int(text) for text in options.dims.split(","))):
        stored = lengthened(unit_rows(projected(references, dims)).astype(np.float16))
        fewer = found(unit_rows(projected(questions, dims)), stored, truth)
        rows.append(row_of(f"{dims} dims, float16", 2 * dims, fewer, whole, strata, sources))
    return rows, f"{backbone.space.backbone}, {len(queries)} queries, {len(references)} references"


def embedded(backbone: PreparedBackbone, pool: DecoderPool, shelf: Shelf, files: Sequence[str]) -> Embeddings:
    """Return (N, D) float32 raw embeddings of files on the shelf."""
    raw = []
    for start in range(0, len(files), BATCH):
        part = files[start : start + BATCH]
        pixels = [pool.decode(shelf.read(file), file).pixels for file in part]
        raw.append(backbone.embed(np.stack(pixels)))
    return np.concatenate(raw)


def found(queries: Embeddings, references: Embeddings, truth: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return (Q,) 1 where the right reference scores highest, else 0."""
    return np.asarray((queries @ references.T).argmax(axis=1) == truth, np.float64)


def row_of(
    name: str,
    size: int,
    hits: NDArray[np.float64],
    whole: NDArray[np.float64],
    strata: NDArray[np.int64],
    sources: NDArray[np.int64],
) -> dict[str, object]:
    """Return a row: recall@1 of each stratum, and by how many points it differs from that of all dims in float32."""
    row: dict[str, object] = {"embeddings": name, "bytes": f"{size:,}"}
    for number, stratum in enumerate(STRATA):
        of = strata == number
        text = f"{hits[of].mean():.3f}"
        if hits is not whole:
            low, high = interval((hits - whole)[of], sources[of])
            text += f" ({100 * (hits - whole)[of].mean():+.2f}, {low:+.2f} to {high:+.2f} points)"
        row[stratum] = text
    return row


def interval(differences: NDArray[np.float64], sources: NDArray[np.int64]) -> tuple[float, float]:
    """Return 95 % of what the mean difference would be, in points, with other photographs."""
    names, which = np.unique(sources, return_inverse=True)
    sums, counts = np.bincount(which, differences), np.bincount(which)
    random = np.random.default_rng(0)
    drawn = random.multinomial(len(names), np.full(len(names), 1 / len(names)), DRAWS)
    means = 100 * (drawn @ sums) / (drawn @ counts)
    return float(np.percentile(means, 2.5)), float(np.percentile(means, 97.5))


def _nobody(_done: int, _total: int) -> None:
    """Show no progress."""


if __name__ == "__main__":
    main()
