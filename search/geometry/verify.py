"""Comparing a query with candidates, the likeliest first: by keypoints, mirrored, then by pixels.

    query = prepare(pixels)
    for verification in verify_in_order(query, candidates, patience=20): ...

The same pixels give the same answers, whatever ran before: nothing here is drawn by chance.
"""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice

from search.geometry.by_keypoints import compare_keypoints
from search.geometry.by_pixels import compare_pixels
from search.geometry.equal_pictures import without_texture
from search.geometry.hypotheses import Turns, turns_of
from search.geometry.keypoints import ASKED, Keypoints, Pixels, extract, mirrored
from search.geometry.matching import match
from search.geometry.verification import Verification, turned_back

_AT_ONCE = 8  # candidates compared in one product, and taken from the caller ahead


@dataclass(frozen=True, slots=True, eq=False)
class Query:
    """What is needed of a query to compare it: the keypoints, those of its mirror image, its eight turns."""

    keypoints: Keypoints
    mirror: Keypoints
    turns: Turns


def prepare(pixels: Pixels) -> Query:
    """Return a query ready to be compared with any number of candidates.

    pixels: (H, W, 3) RGB or (H, W) grey, uint8.

    Raises:
        ValueError: pixels have another shape or dtype.
    """
    return prepared(extract(pixels, ASKED))


def prepared(keypoints: Keypoints) -> Query:
    """Return a query of keypoints that are known already, such as those of an indexed picture."""
    return Query(keypoints, mirrored(keypoints), turns_of(keypoints.thumbnail))


def verify(query: Query, candidate: Keypoints) -> Verification:
    """Return whether one candidate shows the query's picture."""
    return _verify_block(query, [candidate])[0]


def verify_in_order(
    query: Query, candidates: Iterable[Keypoints], *, patience: int | None = None, threads: int = 1
) -> Iterator[Verification]:
    """Yield whether each candidate shows the query's picture, in their order, which should be the likeliest first.

    Candidates are taken from the iterable eight at a time, so that those behind the end are never loaded.
    patience: stop when so many in a row were no "yes" after the first "yes"; None goes through all of them. threads:
    that compare the eight; the answers are the same whatever their number.
    """
    waiting, found, in_vain = iter(candidates), False, 0
    with ThreadPoolExecutor(threads, "verify") as pool:
        while block := list(islice(waiting, _AT_ONCE)):
            each = -(-len(block) // threads)
            parts = [block[start : start + each] for start in range(0, len(block), each)]
            compare = partial(_verify_block, query)
            for verification in chain.from_iterable(
                map(compare, parts) if len(parts) == 1 else pool.map(compare, parts)
            ):
                yield verification
                found, in_vain = (True, 0) if verification.answer == "yes" else (found, in_vain + 1)
                if found and patience is not None and in_vain >= patience:
                    return


def _verify_block(query: Query, block: Sequence[Keypoints]) -> list[Verification]:
    upright = match(query.keypoints, block)
    answers = [compare_keypoints(query.keypoints, one, found) for one, found in zip(block, upright, strict=True)]
    unsure = [number for number, answer in enumerate(answers) if answer.answer != "yes"]
    for number, found in zip(unsure, match(query.mirror, [block[number] for number in unsure]), strict=True):
        second = compare_keypoints(query.mirror, block[number], found)
        if second.answer == "yes" or second.inliers > answers[number].inliers:
            answers[number] = turned_back(second)
        if answers[number].answer != "yes":
            answers[number] = compare_pixels(answers[number], query.keypoints, query.turns, block[number])
    return [
        without_texture(answer, query.keypoints, candidate) for answer, candidate in zip(answers, block, strict=True)
    ]
