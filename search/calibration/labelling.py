"""What is asked of a collection to calibrate it, and which of the answers are the query's picture.

Nothing here looks at the score that is to be calibrated. Two images are one picture where somebody said so, where their
bytes or pixels are the same, where their perceptual hashes hardly differ, or where geometric verification finds the
one in the other; they are two where somebody said so or verification finds nothing in common. "Cannot" is no answer.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from search.calibration.bounds import lower_bound
from search.calibration.evidence import NO_STRATUM, Evidence
from search.geometry.verification import Answer
from search.records import ImageRecord, Said
from search.storing.verdicts import one_picture

NEAR_BITS: Final = 25  # of the 256 of a perceptual hash: a tenth; unrelated pictures differ in about 128

Pair = tuple[int, int]


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """One query and what it found. source: the id of the image behind it. stratum: of the edit, NO_STRATUM for the
    image as it is. own: what an edited copy scores against its own image, None for the image as it is. ids, scores:
    (K,) each, the nearest other images, best first.
    """

    source: int
    stratum: int
    own: float | None
    ids: NDArray[np.int64]
    scores: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class HardPairs:
    """Pairs of an image and one that its queries found, those with the highest scores. floor: no other reaches it."""

    others: Mapping[int, Sequence[int]]
    floor: float


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of two images. said: by people; answer: of geometric verification; None where nobody looked.

    alike: the same bytes or pixels, or perceptual hashes within NEAR_BITS.
    """

    said: Said | None
    alike: bool
    answer: Answer | None = None

    @property
    def same(self) -> bool | None:
        """Return whether they are one picture, None where nothing tells. People are right.

        Who said "not a duplicate" or "a stack" said what to do with them; then nothing else is asked, either.
        """
        if self.said is not None:
            return one_picture(self.said)
        if self.alike or self.answer == "yes":
            return True
        return False if self.answer == "no" else None


def hard_pairs(asked: Sequence[Asked], most: int) -> HardPairs:
    """Return the pairs worth labelling: at most so many, and all with a score above the floor."""
    best: defaultdict[Pair, float] = defaultdict(lambda: -1.0)
    for one in asked:
        for other, score in zip(one.ids.tolist(), one.scores.tolist(), strict=True):
            best[one.source, other] = max(best[one.source, other], score)
    ranked = sorted(best.items(), key=lambda item: (-item[1], item[0]))
    others: defaultdict[int, list[int]] = defaultdict(list)
    for (source, other), _ in ranked[:most]:
        others[source].append(other)
    floor = float(np.nextafter(np.float32(ranked[most][1]), np.float32(2))) if len(ranked) > most else -1.0
    return HardPairs(others, floor)


def alike(one: ImageRecord, other: ImageRecord, hashes: Mapping[int, bytes]) -> bool:
    """Tell whether two images hold the same bytes or pixels, or nearly the same perceptual hash.

    hashes: 32 bytes by image id; all 0 where nobody has seen the picture.
    """
    if one.sha256 == other.sha256 or one.pixel_hash == other.pixel_hash:
        return True
    first, second = (int.from_bytes(hashes.get(image.id, b""), "big") for image in (one, other))
    return first != 0 and second != 0 and (first ^ second).bit_count() <= NEAR_BITS


def evidence_of(asked: Sequence[Asked], known: Mapping[Pair, Known], floor: float) -> Evidence:
    """Return the labelled pairs of all queries.

    Copies that the collection itself holds count where the image is asked for as it is: an edited copy has one answer
    already. known: by (source, other).
    """
    scores, right = list[float](), list[bool]()
    sources, others, strata, decoys = list[int](), list[int](), list[int](), list[float]()

    def add(one: Asked, other: int, score: float, stratum: int, *, same: bool) -> None:
        scores.append(score)
        right.append(same)
        sources.append(one.source)
        others.append(other)
        strata.append(stratum)

    for one in asked:
        if one.own is not None:
            add(one, one.source, one.own, one.stratum, same=True)
        for other, score in zip(one.ids.tolist(), one.scores.tolist(), strict=True):
            pair = known.get((one.source, other))
            same = None if pair is None else pair.same
            if same is False or (same and one.own is None):
                add(one, other, score, NO_STRATUM, same=same)
            if one.own is not None and not same:
                decoys.append(score)
    return Evidence(
        np.array(scores, np.float32),
        np.array(right, bool),
        np.array(sources, np.int64),
        np.array(strata, np.int64),
        len(asked),
        sum(one.own is not None for one in asked),
        np.array(decoys, np.float32),
        floor,
        np.array(others, np.int64),
    )


def verified_precision(found: int, copies: int, mistaken: int, images: int, prevalence: float) -> float | None:
    """Return the lower bound of the precision of pairs that verification calls the same picture; None without any.

    found: of so many edited copies, those that it recognised. mistaken: of the neighbours of so many images, those
    that it took for the image although everything else says that they are not.
    """
    if not found or not images:
        return None
    share = lower_bound(found, found + mistaken)
    odds = prevalence * images / copies * share
    return odds / (odds + 1 - share)
