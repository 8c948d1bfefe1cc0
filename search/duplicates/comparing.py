"""Several copies of one picture side by side: which show most, are finest, least altered, least compressed.

Each question is put to those that are left, and answers with the best of them; what is close to the best is as good.
Files are looked at only where the catalogue cannot tell, and once.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from search.duplicates.judging import Edge
from search.duplicates.keeper_rules import LOSSLESS_FORMATS
from search.duplicates.measuring import Measured
from search.duplicates.picture_facts import PictureFacts
from search.duplicates.sidecars import Beside, is_raw
from search.geometry.edits import pose_edits
from search.geometry.enlargement import DetailProfile
from search.geometry.pixel_edits import PictureFile
from search.geometry.transformation import Model
from search.geometry.verification import Verification, reversed_roles
from search.geometry.widening import Beyond
from search.records import ImageRecord, path_of_uri

_ALL_OF_IT: Final = 0.985  # share of a picture from which on all of it is shown: models are as good as that
_WIDER: Final = 1.02  # times the area
_FINER: Final = 1.15  # times the pixels along a side
_TELLING: Final = 1.3  # and so many from which on the spectrum of an enlarged picture tells
VOTERS: Final = 16  # pictures that are asked which of them is in the middle
_FEWEST_VOTERS: Final = 3
_TURN, _STRETCH = 3.0, 0.06  # degrees, and natural logarithm: as coarsely as models are good for
_CLOSER, _CLOSER_LEVELS = 1.02, 0.1  # times the least mean difference, and levels
_BETTER: Final = 3  # steps of quality
_SOFT: Final = 6.0  # dB of details less than the typical copy; unsharp masks add 11 at most, blurring takes more


@dataclass(frozen=True, slots=True, eq=False)
class Copy:
    """One of the images to choose from. edge: to the picture around which they were found, None for that itself."""

    image: ImageRecord
    edge: Edge | None

    @property
    def found(self) -> Verification | None:
        """What lays it over the centre, where pixels were compared."""
        return None if self.edge is None else self.edge.found


class Comparison:
    """Copies of one picture, and what was found out about them so far."""

    def __init__(self, centre: ImageRecord, copies: Sequence[Copy], facts: PictureFacts | None) -> None:
        """centre: around which they were found. facts: None where nobody can look at pixels."""
        self.copies = copies
        self._centre = centre
        self._facts = facts
        self._measured: dict[bytes, Measured | None] = {}
        self._files: dict[bytes, PictureFile | None] = {}
        self._beside = Beside()

    def widest(self, copies: Sequence[Copy]) -> list[Copy]:
        """Return those that show most of the scene; a frame around it counts less, and one colour beside it nothing."""
        framed = 0
        areas: list[float] = []
        for copy in copies:
            shared = None if copy.found is None else copy.found.shared
            if shared is None:
                areas.append(1.0)
                continue
            more, less = shared.of_query < _ALL_OF_IT, shared.of_candidate < _ALL_OF_IT
            here = self._beyond(copy, own=True) if more else "nothing"
            there = self._beyond(copy, own=False) if less else "nothing"
            framed += there == "frame"
            area = (shared.of_candidate if there == "scene" else 1.0) / (shared.of_query if here == "scene" else 1.0)
            areas.append(0.0 if here == "frame" else area)
        # One of several may be cut along an edge of the scene; a frame shows beside all of them.
        if 2 * framed > sum(copy.found is not None for copy in copies):
            areas = [0.0 if copy.found is None else area for copy, area in zip(copies, areas, strict=True)]
        most = max(areas)
        return [copy for copy, area in zip(copies, areas, strict=True) if area * _WIDER >= most]

    def lossless(self, copies: Sequence[Copy]) -> list[Copy]:
        """Return the RAW files, else what was never compressed with a loss, else all."""
        raw = [copy for copy in copies if _is_raw(copy.image)]
        if raw:
            return raw
        possible = [copy for copy in copies if copy.image.format in LOSSLESS_FORMATS]
        if not possible or len({copy.image.sha256 for copy in copies}) == 1:
            return list(copies)
        if self._facts is None:
            return [copy for copy in possible if copy.image.format != "webp"] or list(copies)
        self._measure(possible)
        found = {copy.image.id for copy in possible if self._is_lossless(copy)}
        if not found:
            return list(copies)
        # What was enlarged and then saved without a loss has lost before.
        density, real = self._densities(copies)
        native = {name for name in found if real[name] == density[name]}
        return [copy for copy in copies if copy.image.id in native] or list(copies)

    def finest(self, copies: Sequence[Copy]) -> list[Copy]:
        """Return those with most pixels for the same part of the scene, without those that were made of fewer."""
        density, real = self._densities(copies)
        best = max(real.values())
        fine = [copy for copy in copies if real[copy.image.id] * _FINER >= best]
        native = [copy for copy in fine if real[copy.image.id] == density[copy.image.id]]
        return native or fine

    def _densities(self, copies: Sequence[Copy]) -> tuple[dict[int, float], dict[int, float]]:
        """Return by id how dense copies are, and how dense what they were made of was, as far as that shows."""
        density = {copy.image.id: self._density(copy) for copy in copies}
        real = dict(density)
        if min(density.values()) * _FINER >= max(density.values()):
            return density, real
        self._measure(copies)
        for copy in copies:
            own = density[copy.image.id]
            as_dense = [one for one in copies if own / _FINER <= density[one.image.id] <= own * _FINER]
            smaller = sorted({one for one in density.values() if one * _TELLING < own})
            sources = {name: [one for one in copies if density[one.image.id] == name] for name in smaller}
            made_of = (one for one in smaller if self._are_enlarged(as_dense, sources[one], own / one))
            real[copy.image.id] = next(made_of, own)
        return density, real

    def untouched(self, copies: Sequence[Copy]) -> list[Copy]:
        """Return those that nothing was taken away from, and of three pictures and more those in the middle of them.

        Most of them agree on which side is left, which way is up and how wide it is for its height; and pixel by pixel
        the others are nearest to them.
        """
        voters = list({copy.image.pixel_hash: copy for copy in self.copies[:VOTERS]}.values())
        alone = len(voters) < _FEWEST_VOTERS
        left = self._without_soft(self._without_grey(copies))
        if alone or len(left) == 1:
            return left
        poses = Counter(_pose(copy) for copy in voters)
        votes = [poses[_pose(copy)] for copy in left]
        left = [copy for copy, count in zip(left, votes, strict=True) if count == max(votes)]
        return self._nearest_to_all(left, voters)

    def _nearest_to_all(self, copies: Sequence[Copy], voters: Sequence[Copy]) -> list[Copy]:
        """Return those that the voters are nearest to."""
        asked = list({copy.image.pixel_hash: copy for copy in (*voters, *copies)}.values())
        if self._facts is None:
            return list(copies)
        own = (self._centre.width, self._centre.height)
        laid = [(copy.image, _onto_centre(copy, own)) for copy in asked]
        means = self._facts.apart(laid, self._centre, self._file)
        apart = {copy.image.pixel_hash: one for copy, one in zip(asked, means, strict=True) if one is not None}
        if len(apart) < _FEWEST_VOTERS:
            return list(copies)
        known = [apart[copy.image.pixel_hash] for copy in copies if copy.image.pixel_hash in apart]
        if not known:
            return list(copies)
        limit = min(known) * _CLOSER + _CLOSER_LEVELS
        return [copy for copy in copies if apart.get(copy.image.pixel_hash, np.inf) <= limit]

    def least_compressed(self, copies: Sequence[Copy]) -> list[Copy]:
        """Return those whose files were compressed least, unknown ones after all others.

        What was made of another one counts less than that, however finely it was saved.
        """
        if len({copy.image.sha256 for copy in copies}) == 1:
            return list(copies)
        self._measure(copies)
        known = [self._measured.get(copy.image.sha256) for copy in copies]
        qualities = [-1 if one is None or one.quality is None else one.quality for one in known]
        left = sorted(zip(qualities, copies, strict=True), key=lambda pair: -pair[0])
        # What was saved finer than what it was made of has all that this had lost, and no more.
        while self._is_made_of_another(*left[0], left):
            left = left[1:]
        as_good = [pair for pair in left if pair[0] + _BETTER >= left[0][0]]
        return [copy for quality, copy in as_good if not self._is_made_of_another(quality, copy, left)]

    def _is_made_of_another(self, quality: int, copy: Copy, others: Sequence[tuple[int, Copy]]) -> bool:
        """Tell whether a copy was made of one of the others that were compressed more. others: with their qualities."""
        return self._facts is not None and any(
            self._facts.is_made_of(copy.image, quality, other.image, its_quality)
            for its_quality, other in others
            if 0 < its_quality < quality
        )

    def best_described(self, copies: Sequence[Copy]) -> list[Copy]:
        """Return those of which files and users say most: entries of EXIF and XMP, metadata, sidecars."""
        if len({copy.image.sha256 for copy in copies}) > 1:
            self._measure(copies)
        known = [self._measured.get(copy.image.sha256) for copy in copies]
        told = [
            (0 if one is None else one.tags) + len(copy.image.metadata) + self._sidecars(copy.image)
            for copy, one in zip(copies, known, strict=True)
        ]
        return [copy for copy, count in zip(copies, told, strict=True) if count == max(told)]

    def _sidecars(self, image: ImageRecord) -> int:
        path = path_of_uri(image.uri)
        return 0 if path is None else len(self._beside.sidecars_of(path))

    def _beyond(self, copy: Copy, *, own: bool) -> Beyond:
        """Return what a picture that shows more shows beyond what is shared. own: that of the copy."""
        found = copy.found
        if found is None or found.shared is None or self._facts is None:
            return "scene"
        if own:
            return self._facts.beyond(copy.image, found.shared.in_query, found.query_size, self._file)
        return self._facts.beyond(self._centre, found.shared.in_candidate, found.candidate_size, self._file)

    def _are_enlarged(self, copies: Sequence[Copy], sources: Sequence[Copy], times: float) -> bool:
        """Tell whether most of several copies of one density were made of such a source, its sides so much shorter."""
        profiles, smaller = self._profiles(copies), self._profiles(sources)

        def made(profile: DetailProfile) -> bool:
            if not profile.is_enlarged(times):
                return False
            return not smaller or any(profile.is_softer_than(one, times) for one in smaller)

        return 2 * sum(made(profile) for profile in profiles) > len(profiles)

    def _profiles(self, copies: Sequence[Copy]) -> list[DetailProfile]:
        measured = [self._measured.get(copy.image.sha256) for copy in copies]
        return [one.profile for one in measured if one is not None and one.profile is not None]

    def _density(self, copy: Copy) -> float:
        """Return how many pixels along a side show what one pixel of the centre shows."""
        shared = None if copy.found is None else copy.found.shared
        pixels, centre = copy.image.width * copy.image.height, self._centre.width * self._centre.height
        if not pixels or not centre:
            return 1.0
        if shared is None:
            return float((pixels / centre) ** 0.5)
        return float((shared.of_query * pixels / (shared.of_candidate * centre)) ** 0.5)

    def _without_grey(self, copies: Sequence[Copy]) -> list[Copy]:
        """Return those that have colours, if any has."""
        centre_lost, lost = False, set[int]()
        for copy in copies:
            found = copy.found
            if found is None or self._facts is None:
                continue
            if self._facts.is_grey(found, copy.image, self._centre, self._file):
                lost.add(copy.image.id)
            centre_lost |= bool(self._facts.is_grey(reversed_roles(found), self._centre, copy.image, self._file))
        left = [copy for copy in copies if copy.image.id not in lost and not (centre_lost and copy.found is None)]
        return left or list(copies)

    def _without_soft(self, copies: Sequence[Copy]) -> list[Copy]:
        """Return those that have as much detail as is typical of them; sharpened ones have more, blurred ones less."""
        self._measure(copies)
        measured = [self._measured.get(copy.image.sha256) for copy in copies]
        details = [np.nan if one is None or one.profile is None else one.profile.fineness for one in measured]
        if np.isfinite(details).sum() < len(copies):
            return list(copies)
        typical = float(np.median(details))
        return [copy for copy, detail in zip(copies, details, strict=True) if detail > typical - _SOFT]

    def _is_lossless(self, copy: Copy) -> bool:
        measured = self._measured.get(copy.image.sha256)
        return measured is not None and measured.lossless

    def _measure(self, copies: Sequence[Copy]) -> None:
        new = {copy.image.sha256: copy.image for copy in copies if copy.image.sha256 not in self._measured}
        if new and self._facts is not None:
            images = list(new.values())
            for image, measured in zip(images, self._facts.measured(images), strict=True):
                self._measured[image.sha256] = measured

    def _file(self, image: ImageRecord) -> PictureFile | None:
        if image.sha256 not in self._files:
            self._files[image.sha256] = None if self._facts is None else self._facts.file(image)
        return self._files[image.sha256]


def _pose(copy: Copy) -> tuple[bool, int, int]:
    """Return whether a copy is mirrored, how it is turned and how wide it is for its height, coarsely."""
    if copy.found is None:
        return False, 0, 0
    done = {edit.kind: edit.amount or 0.0 for edit in pose_edits(copy.found)}
    return (
        "mirrored" in done,
        round(done.get("rotated", 0.0) / _TURN),
        round(np.log(done.get("stretched", 1.0)) / _STRETCH),
    )


def _onto_centre(copy: Copy, centre: tuple[int, int]) -> Model:
    """Return the model (3, 3) that lays a copy over the centre, in pixels of both."""
    if copy.found is not None and copy.found.model is not None:
        return copy.found.model
    return np.diag((centre[0] / max(1, copy.image.width), centre[1] / max(1, copy.image.height), 1.0))


def _is_raw(image: ImageRecord) -> bool:
    path = path_of_uri(image.uri)
    return path is not None and is_raw(path)
