"""Job: write a collection with the nearest neighbours of every image as a data set that FiftyOne imports. Reads only.

The format is that of `fiftyone.types.FiftyOneDataset` without a version, which its releases read since 0.8:
`samples.json` holds one object per image, as `fiftyone.Sample.from_dict` takes it, beside a `metadata.json`. Pictures
are not copied: `filepath` is where they are.
"""

import json
import mimetypes
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from search.blobs.blobs import sync_folder
from search.faults import fault
from search.finding.snapshot import Snapshot
from search.index.pair_finder import Nearest, PairFinder
from search.moving.export_neighbours import PAGE_IMAGES, Neighbourhood, without_itself
from search.moving.partial_folders import partial_folder
from search.records import ImageRecord, path_of_uri
from search.storing.catalogue import Catalogue

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class FiftyOneReport:
    """What was written. images: in the data set; left_out: images whose file is no plain one of this machine, or was
    removed meanwhile; k: most neighbours of each image.
    """

    place: Path
    collection: str
    images: int
    left_out: int
    k: int

    def as_json(self) -> dict[str, object]:
        """Return the object the `neighbours` command prints."""
        return asdict(self) | {"place": str(self.place)}


def export_fiftyone(
    snapshot: Snapshot,
    catalogue: Catalogue,
    place: Path,
    wanted: Neighbourhood,
    finder: PairFinder,
    progress: Progress = lambda done, total: None,
) -> FiftyOneReport:
    """Write a data set for FiftyOne as a folder that is not there yet.

    Costs O(N^2 * D) and the memory of all embeddings in float32. progress: called with (images done, images in all).

    Raises:
        UsageError: something is at this place already, or its folder is not there.
        CorruptFile: a segment is damaged; nothing is left at the place.
        StoreUnavailable: the disk is full.
    """
    ids, embeddings = snapshot.rows()
    collection = snapshot.collection
    with partial_folder(place) as partial:
        found = without_itself(finder.nearest(embeddings, embeddings, wanted.k + 1, progress))
        near = _Near(ids, found, wanted.min_score)
        images = _images(catalogue, collection.id, ids)
        samples = (_sample(image, path, near.of(row)) for row, image, path in images)
        about = {"name": collection.name, "space": collection.space.name, "made_by": "lookalike neighbours"}
        _write(partial / "metadata.json", [json.dumps({"media_type": "image", "info": about}, indent=1)])
        written = _write_samples(partial / "samples.json", samples)
        fault("export.rename")
        partial.rename(place)
        sync_folder(place.parent)
    return FiftyOneReport(place, collection.name, written, len(ids) - written, wanted.k)


class _Near:
    """The neighbours of each row, best first. ids: (N,) by row. found: as `without_itself` gives it."""

    def __init__(self, ids: NDArray[np.int64], found: Nearest, min_score: float) -> None:
        self._ids = ids
        self._found = found
        self._min_score = np.float32(min_score)

    def of(self, row: int) -> dict[str, object]:
        """Return the fields of a sample that tell of the neighbours of a row."""
        scores = self._found.scores[row]
        wanted = scores >= self._min_score
        ids = [str(image) for image in self._ids[self._found.rows[row][wanted]]]
        kept = scores[wanted].astype(float).tolist()
        return {"neighbour_ids": ids, "neighbour_scores": kept, "nearest_score": kept[0] if kept else None}


def _images(catalogue: Catalogue, collection_id: int, ids: NDArray[np.int64]) -> Iterator[tuple[int, ImageRecord, str]]:
    """Give the images that are still there and have a path that JSON can hold, each with its row."""
    for start in range(0, len(ids), PAGE_IMAGES):
        fault("export.page")
        page = ids[start : start + PAGE_IMAGES].tolist()
        records = catalogue.images_by_id(collection_id, page)
        for row, image_id in enumerate(page, start=start):
            image = records.get(image_id)
            path = None if image is None else path_of_uri(image.uri)
            if image is not None and path is not None and _is_text(str(path)):
                yield row, image, str(path)


def _sample(image: ImageRecord, path: str, neighbours: Mapping[str, object]) -> dict[str, object]:
    """Return an image as FiftyOne writes its samples."""
    kind = mimetypes.guess_type(path)[0] or f"image/{image.format}"
    size = {"size_bytes": image.size_bytes, "mime_type": kind, "width": image.width, "height": image.height}
    shape: dict[str, object] = {"filepath": path, "tags": [], "metadata": {"_cls": "ImageMetadata", **size}}
    shape |= {"lookalike_id": str(image.id), "key": image.key, "sha256": image.sha256.hex(), **neighbours}
    if image.labels:
        labels = [
            {"_cls": "Classification", "label": label.label, "confidence": label.probability} for label in image.labels
        ]
        shape["labels"] = {"_cls": "Classifications", "classifications": labels}
    if image.taken_at is not None:
        shape["taken_at"] = image.taken_at
    if image.metadata:
        shape["user_metadata"] = _plain(image.metadata)
    return shape


def _plain(value: object) -> object:
    """Return metadata with names that its database takes, and FiftyOne does not mistake for a type of its own."""
    if isinstance(value, Mapping):
        named: dict[str, object] = {}
        for name, inner in value.items():
            chosen = str(name).replace(".", "_")
            chosen = f"meta{chosen}" if chosen[:1] in ("$", "_", "") else chosen
            while chosen in named:
                chosen += "_"
            named[chosen] = _plain(inner)
        return named
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value


def _is_text(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:  # a file name of other bytes
        return False
    return True


def _write_samples(path: Path, samples: Iterator[dict[str, object]]) -> int:
    """Write the samples one after the other, as they may be many; return how many they were."""
    written = 0

    def parts() -> Iterator[str]:
        nonlocal written
        yield '{"samples": ['
        for sample in samples:
            yield ",\n" if written else "\n"
            yield json.dumps(sample, ensure_ascii=False)
            written += 1
        yield "\n]}\n"

    _write(path, parts())
    return written


def _write(path: Path, parts: Iterator[str] | list[str]) -> None:
    with path.open("x", encoding="utf-8") as file:
        file.writelines(parts)
        file.flush()
        os.fsync(file.fileno())
