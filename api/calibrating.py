"""Job: what the scores of a collection mean, found out with copies of its own images that are made for it.

    images of it -> edited copies -> what they find -> pairs that score highest, labelled by other evidence
                 -> probability and thresholds -> catalogue

Only edits of the kinds that are free for tuning are made (indexer/quality/edits.py), so that the others can say what
the promise is worth.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from api.accurate_searches import AccurateSearches
from api.workspace import Workspace
from indexer.procedural.pictures import procedural_images
from indexer.quality.edits import EDITS, STRATA
from search.calibration.calibration import AUTOMATIC, PREVALENCE, REVIEW, SAMPLES, Calibration, operating_points
from search.calibration.calibrations import Calibrations
from search.calibration.evidence import NO_STRATUM, Evidence
from search.calibration.labelling import (
    Asked,
    HardPairs,
    Known,
    Pair,
    alike,
    evidence_of,
    hard_pairs,
    verified_precision,
)
from search.duplicates.thresholds import default_threshold
from search.errors import UsageError
from search.finding.plain_pictures import MIN_CONTRAST
from search.finding.snapshot import Snapshot
from search.geometry.keypoints import Keypoints
from search.geometry.verification import Answer
from search.geometry.verify import prepared, verify, verify_in_order
from search.records import Collection, ImageRecord, Said
from search.storing.verdicts import Verdict, Verdicts

NEIGHBOURS: Final = 20
COPIES: Final = 2_700  # in all, where there are images enough
MOST_COPIES: Final = 15  # of one image: more are worth little more
PAIRS: Final = 10  # to be labelled, for each image of the sample
MOST_PAIRS: Final = 5_000  # in all: those that score highest decide
TRIED: Final = 4  # times the sample: so many images are tried for files that can be read
DRAWN_FROM: Final = 100_000  # images
OF_VERDICTS: Final = 1 / 3  # of the sample: images that somebody has spoken about
PARTNERS: Final = 6  # drawn pictures for edits that need another one: nobody's collection holds them
SMALLEST_SIDE: Final = 48  # pixels

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class CalibrationRequest:
    """What is wanted. samples: images of the collection. precision: of the automatic threshold. prevalence: the share
    of queries whose picture is in the collection. copies: of each image, by default as many as make COPIES in all.

    Raises:
        UsageError: a number is none that can be wanted.
    """

    samples: int = SAMPLES
    seed: int = 0
    precision: float = AUTOMATIC
    prevalence: float = PREVALENCE
    copies: int | None = None

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise UsageError(f"samples is {self.samples}, choose 1 or more")
        if not REVIEW <= self.precision < 1:
            raise UsageError(f"precision is {self.precision}, choose {REVIEW} to less than 1")
        if not 0 < self.prevalence <= 1:
            raise UsageError(f"prevalence is {self.prevalence}, choose more than 0 and at most 1")

    def kinds_of_each_stratum(self, images: int) -> int:
        """Return how many edits of each stratum are made of an image, where so many images are there."""
        copies = self.copies or min(MOST_COPIES, -(-COPIES // max(1, min(self.samples, images))))
        return max(1, copies // len(STRATA))


@dataclass(frozen=True, slots=True)
class Told:
    """Who is told how far it is: asking, comparing: (done, total); estimate: seconds for the whole, once."""

    asking: Progress = lambda _done, _total: None
    comparing: Progress = lambda _done, _total: None
    estimate: Callable[[float], None] = lambda _seconds: None


def calibrate(
    workspace: Workspace, target: Collection, request: CalibrationRequest, told: Told | None = None
) -> Calibration:
    """Return what the scores of a collection mean, and write it down, whatever came of it.

    Raises:
        UsageError: embeddings were made elsewhere, so that no copy can be embedded.
        LookalikeError: the backbone cannot be loaded, or a segment is damaged.
    """
    if target.space.is_imported:
        raise UsageError(
            f"the embeddings of {target.name} were imported: no edited copy can be embedded here, as calibration needs"
        )
    snapshot = workspace.snapshot(target)
    job = _Job(workspace, snapshot, request, told or Told())
    asked = job.ask()
    pairs = hard_pairs(asked, min(PAIRS * request.samples, MOST_PAIRS))
    known = job.compare(pairs)
    found = _fitted(job, asked, known, evidence_of(asked, known, pairs.floor))
    Calibrations(workspace.store.database).add(found)
    return found


def _fitted(job: "_Job", asked: Sequence[Asked], known: dict[Pair, Known], evidence: Evidence) -> Calibration:
    request, snapshot = job.request, job.snapshot
    points = operating_points(evidence, request.precision, request.prevalence, request.seed)
    automatic, review, knots = points
    least = review.score if review.score is not None else default_threshold(snapshot.collection.space)
    mistaken = _mistaken(asked, known, least)
    right = int(evidence.right.sum())
    counts = {
        "images": job.images,
        "unreadable": job.unreadable,
        "copies": evidence.edited,
        "queries": evidence.queries,
        "right": right,
        "wrong": len(evidence.right) - right,
        "left_out": sum(pair.same is None for pair in known.values()),
        "verdicts": sum(pair.said is not None for pair in known.values()),
        "verified_copies": job.recognised,
        "looked_at_copies": job.looked_at,
        "verified_mistakes": mistaken,
    }
    return Calibration(
        collection_id=snapshot.collection.id,
        space_id=snapshot.collection.space_id,
        transform=snapshot.transform.fingerprint,
        images=len(snapshot),
        automatic=automatic,
        review=review,
        knots=knots,
        prevalence=request.prevalence,
        verified=verified_precision(job.recognised, job.looked_at, mistaken, job.images, request.prevalence),
        evidence=counts,
        samples=request.samples,
        seed=request.seed,
        made_at=time.time(),
    )


def _mistaken(asked: Sequence[Asked], known: dict[Pair, Known], least: float) -> int:
    """Return how many pairs verification calls the same picture against a verdict, or against all other evidence.

    least: scores below it say that two images are not the same picture: here it is verification that is judged.
    """
    scores = {
        (one.source, other): score
        for one in asked
        if one.own is None
        for other, score in zip(one.ids.tolist(), one.scores.tolist(), strict=True)
    }
    return sum(
        pair.said == "different" or (pair.said is None and not pair.alike and scores.get(name, -1.0) < least)
        for name, pair in known.items()
        if pair.answer == "yes"
    )


class _Job:
    """One calibration: what is asked, and what the pictures themselves say."""

    def __init__(self, workspace: Workspace, snapshot: Snapshot, request: CalibrationRequest, told: Told) -> None:
        self.snapshot, self.request = snapshot, request
        self.images = self.unreadable = self.recognised = self.looked_at = 0
        self._told = told
        self._catalogue = workspace.store.catalogue
        self._looking: AccurateSearches = workspace.accurate_searches()
        self._embedder = workspace.embedder(snapshot.collection)
        self._rng = np.random.default_rng(request.seed)
        self._verdicts: list[Verdict] = Verdicts(workspace.store.database).all()
        self._partners: list[Image.Image] = []
        self._records: dict[int, ImageRecord] = {}

    def ask(self) -> list[Asked]:
        """Return what the sample and edited copies of it find."""
        asked, wanted = list[Asked](), min(self.request.samples, len(self.snapshot))
        began = time.perf_counter()
        for record, pixels in self._sample(wanted):
            asked += self._of_image(record, Image.fromarray(pixels), wanted)
            self.images += 1
            self._told.asking(self.images, wanted)
            if self.images == min(10, wanted):
                # What follows, the comparing of pictures, takes about as long.
                self._told.estimate(2 * (time.perf_counter() - began) / self.images * wanted)
        return asked

    def compare(self, pairs: HardPairs) -> dict[Pair, Known]:
        """Return what is known of each pair but its score."""
        said = {(one.first, one.second): one.said for one in self._verdicts}
        known, done = dict[Pair, Known](), 0
        total = sum(len(others) for others in pairs.others.values())
        for source, others in pairs.others.items():
            record = self._records[source]
            records = self._catalogue.images_by_id(self.snapshot.collection.id, others)
            hashes = self._catalogue.perceptual_hashes([source, *records])
            unsure = list[ImageRecord]()
            for other in records.values():
                pair = Known(_said(said, record, other), alike(record, other, hashes))
                known[source, other.id] = pair
                if not pair.alike:
                    unsure.append(other)
            for other, answer in zip(unsure, self._answers(record, unsure), strict=True):
                before = known[source, other.id]
                known[source, other.id] = Known(before.said, before.alike, answer)
            done += len(others)
            self._told.comparing(done, total)
        return known

    def _answers(self, record: ImageRecord, others: Sequence[ImageRecord]) -> list[Answer | None]:
        """Return what verification says of an image and each of the others, None where a file cannot be read."""
        (own,) = self._looking.stored.keypoints([record])
        if own is None or not others:
            return [None] * len(others)
        there = list(self._looking.stored.keypoints(others))
        known: list[Keypoints] = [one for one in there if one is not None]
        answers = iter([found.answer for found in verify_in_order(prepared(own), known)])
        return [None if one is None else next(answers) for one in there]

    def _sample(self, wanted: int) -> Iterator[tuple[ImageRecord, NDArray[np.uint8]]]:
        """Yield images whose files can be read, first some that people have spoken about."""
        spoken = {name for one in self._verdicts for name in (one.first, one.second)}
        first = self._catalogue.by_content(self._catalogue.ids_of_contents(self.snapshot.collection.id, spoken))
        first = self._rng.permutation(first)[: int(OF_VERDICTS * wanted)]
        drawn_from = self.snapshot.sample(min(DRAWN_FROM, len(self.snapshot)))
        others = self._rng.permutation(self._catalogue.by_content(drawn_from.tolist()))
        others = others[~np.isin(others, first)]
        found = 0
        for image_id in np.concatenate([first, others])[: TRIED * wanted].tolist():
            record = self._catalogue.images_by_id(self.snapshot.collection.id, [image_id]).get(image_id)
            if record is None or record.contrast < MIN_CONTRAST or min(record.width, record.height) < SMALLEST_SIDE:
                continue
            file = self._looking.stored.file(record)
            if file is None:
                self.unreadable += 1
                continue
            self._records[image_id] = record
            yield record, file.pixels
            found += 1
            if found == wanted:
                return

    def _of_image(self, record: ImageRecord, picture: Image.Image, wanted: int) -> list[Asked]:
        """Return what an image finds as it is, and in edited copies."""
        asked = [self._asked(record, self.snapshot.embedding_of(record.id), NO_STRATUM)]
        copies = list[tuple[int, bytes]]()
        for number, stratum in enumerate(STRATA):
            kinds = [edit for edit in EDITS if edit.stratum == stratum and not edit.unseen]
            chosen = self._rng.permutation(len(kinds))[: self.request.kinds_of_each_stratum(wanted)]
            edited = [kinds[place].apply(picture, self._rng, self._others()) for place in chosen.tolist()]
            copies += [(number, data) for data in edited]
            self._look(record, edited[0])
        embeddings = self._embedder.whole([data for _, data in copies], record.uri)
        for (number, _), embedding in zip(copies, embeddings, strict=True):
            if embedding is not None:
                asked.append(self._asked(record, embedding, number))
        return asked

    def _look(self, record: ImageRecord, copy: bytes) -> None:
        """Count whether verification recognises an edited copy."""
        (keypoints,) = self._looking.stored.keypoints([record])
        if keypoints is not None:
            self.looked_at += 1
            self.recognised += verify(self._looking.prepared(copy, record.uri), keypoints).answer == "yes"

    def _asked(self, record: ImageRecord, embedding: NDArray[np.float32], stratum: int) -> Asked:
        ranked = self.snapshot.search(embedding, NEIGHBOURS + 1)
        others = np.flatnonzero(ranked.ids != record.id)[:NEIGHBOURS]
        own = None
        if stratum != NO_STRATUM:
            own = float(self.snapshot.rank(embedding, 1, np.array([record.id], np.int64)).scores[0])
        return Asked(record.id, stratum, own, ranked.ids[others], ranked.scores[others])

    def _others(self) -> list[Image.Image]:
        if not self._partners:
            drawn = procedural_images(PARTNERS, self.request.seed)
            self._partners = [Image.fromarray(pixels).resize((640, 480)) for pixels in drawn]
        return self._partners


def _said(said: dict[tuple[bytes, bytes], Said], one: ImageRecord, other: ImageRecord) -> Said | None:
    first, second = sorted((one.sha256, other.sha256))
    return said.get((first, second))
