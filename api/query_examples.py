"""Queries made of several pictures: some that the answer shall be like, some that it shall be unlike, and embeddings.

The query is the mean of the embeddings of all that is liked, less half the mean of those disliked, scaled to length 1:
Rocchio's formula ("Relevance Feedback in Information Retrieval", 1971), with weights of 1 and .5.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from api.queries import MAX_DIMS, MAX_EXAMPLES, MAX_PICTURES, Found, QueryRequest
from search.embeddings import unit_rows, usable_rows
from search.errors import ImageNotFound, UsageError
from search.finding.plain_pictures import why_plain_image
from search.finding.snapshot import Snapshot
from search.records import Collection, Embeddings

if TYPE_CHECKING:
    from api.workspace import Workspace

UNLIKE_WEIGHT: Final = 0.5
MATRIX: Final = 2  # axes of (N, D)
SHORTEST: Final = 1e-3  # what is left of vectors of length 1 that cancel out is rounding


@dataclass(frozen=True, slots=True)
class Examples:
    """What a query is made of. pictures: their bytes, and their names for messages. like, unlike: ids of stored images.

    embedding: of the collection's space, of any length.

    Raises:
        UsageError: there is nothing to be like, there are too many, or the embedding cannot be one.
    """

    pictures: tuple[tuple[bytes, str], ...] = ()
    like: tuple[int, ...] = ()
    unlike: tuple[int, ...] = ()
    embedding: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if not self.pictures and not self.like and self.embedding is None:
            raise UsageError("there is nothing to be like: give a picture, an embedding, or images to `like`")
        for name, given, most in (
            ("like", self.like, MAX_EXAMPLES),
            ("unlike", self.unlike, MAX_EXAMPLES),
            ("image", self.pictures, MAX_PICTURES),
        ):
            if len(given) > most:
                raise UsageError(f"{name} has {len(given)} entries; give {most} or fewer")
        both = sorted(set(self.like) & set(self.unlike))
        if both:
            raise UsageError(f"image {both[0]} is in `like` and in `unlike`; leave it out of one of them")

    @property
    def is_embedding(self) -> bool:
        """Whether there is one embedding and nothing else: its scores mean what those of a picture do."""
        return self.embedding is not None and not (self.pictures or self.like or self.unlike)

    def as_json(self) -> dict[str, object]:
        """Return what the answer says of the query."""
        shape: dict[str, object] = {}
        if self.like:
            shape["like"] = [str(one) for one in self.like]
        if self.unlike:
            shape["unlike"] = [str(one) for one in self.unlike]
        if self.embedding is not None:
            shape["dims"] = len(self.embedding)
        return shape


def search_by_examples(workspace: "Workspace", target: Collection, examples: Examples, wanted: QueryRequest) -> Found:
    """Return the images closest to what examples have in common; the stored ones among them are no matches.

    Raises:
        ImageNotFound: a stored example is not there.
        BadImage: a picture cannot be decoded.
        UsageError: an example shows next to nothing, they cancel out, or `accurate` or `box` is asked for.
    """
    if wanted.accurate or wanted.box is not None:
        asked = "accurate" if wanted.accurate else "box"
        raise UsageError(f"{asked} needs one picture; leave it out, or search by one picture alone")
    # The snapshot first: everything is embedded in its space, whatever is promoted meanwhile.
    snapshot = workspace.snapshot(target)
    began = time.perf_counter()
    embedding = None if examples.embedding is None else _given(examples.embedding, snapshot)
    disliked = _stored(workspace, snapshot, examples.unlike)
    liked = [_stored(workspace, snapshot, examples.like)] + ([] if embedding is None else [embedding])
    decode_ms = embed_ms = 0.0
    for data, name in examples.pictures:
        picture = workspace.embedder(snapshot.collection).view(data, name, every=False)
        if picture.plain is not None:
            raise UsageError(f"{name}: {picture.plain}, so nothing can be like it; leave it out")
        liked.append(picture.views)
        decode_ms, embed_ms = decode_ms + picture.decode_ms, embed_ms + picture.embed_ms
    query = combined(np.concatenate(liked), disliked)
    leave_out = frozenset((*examples.like, *examples.unlike))
    matches = workspace.matches(snapshot, query, wanted, leave_out=leave_out, as_picture=examples.is_embedding)
    search_ms = 1000 * (time.perf_counter() - began) - decode_ms - embed_ms
    return Found(matches, decode_ms, embed_ms, search_ms)


def combined(liked: Embeddings, disliked: Embeddings) -> Embeddings:
    """Return the query of examples, (1, D) float32 of unit length. liked: (N, D), disliked: (M, D), of unit length.

    Raises:
        UsageError: nothing is left.
    """
    query = liked.mean(axis=0, dtype=np.float64)
    if len(disliked):
        query -= UNLIKE_WEIGHT * disliked.mean(axis=0, dtype=np.float64)
    if np.linalg.norm(query) < SHORTEST:
        raise UsageError("these examples cancel out: what they are like and unlike is the same; give others")
    return unit_rows(query[np.newaxis])


def read_embedding(file: Path) -> tuple[float, ...]:
    """Return the embedding in a NumPy file, of shape (D,) or (1, D).

    Raises:
        UsageError: it holds something else.
    """
    try:
        # Mapped: of a huge file nothing is read before its shape is known.
        found = np.load(file.expanduser(), mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read an embedding from {file}: {error}") from error
    if (
        found.dtype.kind != "f"
        or found.ndim not in (1, 2)
        or not 1 <= found.size <= MAX_DIMS
        or len(found) > found.size
    ):
        raise UsageError(f"{file} holds {found.shape} of {found.dtype}; give one embedding, (D,) or (1, D) of floats")
    if found.ndim == MATRIX and len(found) != 1:
        raise UsageError(f"{file} holds {len(found)} embeddings; give a file with one")
    return tuple(found.reshape(-1).astype(np.float64).tolist())


def _given(numbers: Sequence[float], snapshot: Snapshot) -> Embeddings:
    """Return an embedding that somebody sent as a query, (1, D) float32 of unit length."""
    dims = snapshot.collection.space.dims
    if len(numbers) != dims:
        raise UsageError(
            f"the embedding has {len(numbers)} dims; give {dims}, as {snapshot.collection.space.backbone} has them"
        )
    row = np.array([numbers], np.float64)
    if not usable_rows(row)[0]:
        raise UsageError("the embedding is zero, or has numbers that are not finite; give one that a backbone made")
    # By its largest number first: a float32 holds no square of a number that only a float64 does.
    return unit_rows(row / np.abs(row).max())


def _stored(workspace: "Workspace", snapshot: Snapshot, ids: Sequence[int]) -> Embeddings:
    """Return the embeddings of stored images, (len(ids), D) float32 of unit length."""
    if not ids:
        return np.empty((0, snapshot.collection.space.dims), np.float32)
    records = workspace.store.catalogue.images_by_id(snapshot.collection.id, ids)
    for image_id in ids:
        if image_id not in records:
            raise ImageNotFound(f"there is no image with id {image_id} in this collection")
        plain = why_plain_image(records[image_id])
        if plain is not None:
            raise UsageError(f"image {image_id}: {plain}, so it is no example of anything; leave it out")
    return snapshot.embeddings_of(np.array(ids, np.int64), stored=True)
