"""Real photographs to evaluate on: those that scikit-image, scikit-learn and matplotlib ship, cut into pieces.

None of them was seen in training. The pieces of one photograph are different pictures, and the hardest distractors
there are. Everything is drawn from fixed seeds: the same packages give the same set, pixel for pixel.
"""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from indexer.backbones.backbones import BUILTIN_PREPARATION
from indexer.procedural.pictures import procedural_images
from indexer.quality.bundled import bundled_photos
from indexer.quality.originals import pieces
from indexer.quality.painting import Picture, nearly_blank
from training.edits import Edit, all_edits

INPUT_SIZE = BUILTIN_PREPARATION.width
NO_MATCH = -1

SPLIT_SEED = 12345
DISTRACTOR_SEED = 777
PHOTO_DISTRACTORS = 14
UNMATCHED = 14


@dataclass(frozen=True, slots=True)
class EvaluationSet:
    """References to search in, and edited queries of which the true reference is known."""

    references: NDArray[np.uint8]  # (R, S, S, 3)
    queries: NDArray[np.uint8]  # (Q, S, S, 3)
    truth: NDArray[np.int64]  # (Q,) row in references, or NO_MATCH
    edits: tuple[Edit, ...]  # Q of them: what was done to each query

    @property
    def light(self) -> NDArray[np.bool_]:
        """(Q,) True where the edit is a light one."""
        return np.array([edit.light for edit in self.edits])


def build_evaluation_set(
    *, distractors: int = 2000, originals: int | None = None, without: Sequence[str] = (), size: int = INPUT_SIZE
) -> EvaluationSet:
    """Return the set: every edit of every original, and edited pictures that have no original among the references.

    distractors: how many procedural pictures are added to the references.
    originals: how many photographs are searched for, all when not given. without: names of files to leave out.
    size: pixels of the side that the weights see.
    """
    pieces = photo_pieces(without)
    order = np.random.default_rng(SPLIT_SEED).permutation(len(pieces))
    held_out = len(pieces) - PHOTO_DISTRACTORS - UNMATCHED
    searched = [pieces[i] for i in order[:held_out]][:originals]
    beside = [pieces[i] for i in order[held_out : held_out + PHOTO_DISTRACTORS]]
    unmatched = [pieces[i] for i in order[held_out + PHOTO_DISTRACTORS :]]
    references = [model_input(piece, size) for piece in (*searched, *beside)]
    references += [model_input(Image.fromarray(p), size) for p in procedural_images(distractors, DISTRACTOR_SEED)]
    asked = (*_matched(searched, unmatched, size), *_unmatched(unmatched, size))
    queries, truth, edits = zip(*asked, strict=True)
    return EvaluationSet(np.stack(references), np.stack(queries), np.array(truth, np.int64), edits)


def model_input(picture: Picture, size: int = INPUT_SIZE) -> NDArray[np.uint8]:
    """Return the (S, S, 3) uint8 pixels the built-in backbone sees: the whole frame, reduced as in production."""
    return np.array(picture.convert("RGB").resize((size, size), Image.Resampling.BILINEAR))


def photo_pieces(without: Sequence[str] = ()) -> list[Picture]:
    """Return the pieces of the bundled photographs in order, RGB, without the flat ones. without: names of files."""
    everything = [piece for photo in bundled_photos() if photo.file.name not in without for piece in pieces(photo)]
    return [piece for piece in everything if not nearly_blank(piece)]


def _matched(
    originals: Sequence[Picture], partners: Sequence[Picture], size: int
) -> Iterator[tuple[NDArray[np.uint8], int, Edit]]:
    for row, original in enumerate(originals):
        for edit in all_edits(partners):
            yield model_input(edit.apply(original, _seeded(row, edit)), size), row, edit


def _unmatched(pictures: Sequence[Picture], size: int) -> Iterator[tuple[NDArray[np.uint8], int, Edit]]:
    """Yield one query of each family but the collages, which would show another unmatched picture."""
    for number, picture in enumerate(pictures):
        families: dict[str, list[Edit]] = {}
        for edit in all_edits(pictures):
            families.setdefault(edit.family, []).append(edit)
        del families["collage"]
        for variants in families.values():
            edit = variants[number % len(variants)]
            yield model_input(edit.apply(picture, _seeded(number, edit)), size), NO_MATCH, edit


def _seeded(row: int, edit: Edit) -> np.random.Generator:
    """Return a generator of this picture's and this edit's own, so that adding an edit changes no other query."""
    return np.random.default_rng([row, zlib.crc32(edit.name.encode())])
