"""What pictures and their files say, to choose between copies and to describe them: as it was answered before, else by
looking at them. What depends on a file that cannot be read is never kept.
"""

import json
from collections.abc import Callable, Sequence

import numpy as np

from search.duplicates.answer_values import digest_of
from search.duplicates.answers import Answers, NoAnswers, Question, digest
from search.duplicates.measuring import KeeperPictures, Measured
from search.geometry.consensus import distances
from search.geometry.enlargement import DetailProfile
from search.geometry.overlap import Size
from search.geometry.pixel_edits import PictureFile, edits_between, is_grey
from search.geometry.recompression import is_made_of
from search.geometry.transformation import Model, Points
from search.geometry.verification import Verification
from search.geometry.widening import Beyond, beyond
from search.records import Edit, ImageRecord

File = Callable[[ImageRecord], PictureFile | None]  # reads an image's pixels, None where they cannot be had


class PictureFacts:
    """Answers questions about pictures. Thread-safe. Holds no pixels: who asks several questions reads files once."""

    def __init__(self, pictures: KeeperPictures, answers: Answers | None = None) -> None:
        self.file = pictures.file
        self._pictures = pictures
        self._answers = answers or NoAnswers()

    def measured(self, images: Sequence[ImageRecord]) -> list[Measured | None]:
        """Return what the file of each image says, None where it is not what was indexed any more."""
        kept = [self._answers.find(Question("file", image.sha256)) for image in images]
        new = [image for image, answer in zip(images, kept, strict=True) if answer is None]
        looked = iter(self._pictures.measured(new) if new else ())
        found: list[Measured | None] = []
        for image, answer in zip(images, kept, strict=True):
            measured = next(looked) if answer is None else _measured_of(answer)
            if answer is None and measured is not None:
                self._answers.keep(Question("file", image.sha256), _text_of(measured))
            found.append(measured)
        return found

    def beyond(self, image: ImageRecord, shared: Points, size: Size, file: File) -> Beyond:
        """Return what a picture shows beyond a part of it (search/geometry/widening.py); scene where nobody can."""
        question = Question("beyond", image.sha256, about=digest(shared, size))
        kept = self._answers.find(question)
        if kept is not None:
            known: Beyond = json.loads(kept)
            return known
        read = file(image)
        if read is None:
            return "scene"
        found = beyond(read.pixels, shared, size)
        self._answers.keep(question, json.dumps(found).encode())
        return found

    def is_grey(self, found: Verification, query: ImageRecord, candidate: ImageRecord, file: File) -> bool | None:
        """Tell whether the query lost the colours that the candidate has, None where one cannot be read."""
        question = Question("grey", query.sha256, candidate.sha256, digest_of(found))
        kept = self._answers.find(question)
        if kept is not None:
            return bool(json.loads(kept))
        one, other = file(query), file(candidate)
        if one is None or other is None:
            return None
        grey = bool(is_grey(found, one, other))
        self._answers.keep(question, json.dumps(grey).encode())
        return grey

    def is_made_of(self, finer: ImageRecord, quality: int, coarser: ImageRecord, its_quality: int) -> bool:
        """Tell whether a picture was made of one that was compressed more (search/geometry/recompression.py).

        No where nobody can tell.
        """
        if (finer.width, finer.height) != (coarser.width, coarser.height):
            return False
        question = Question("made_of", finer.sha256, coarser.sha256, digest((quality, its_quality)))
        kept = self._answers.find(question)
        if kept is not None:
            return bool(json.loads(kept))
        one, other = self._pictures.whole(finer), self._pictures.whole(coarser)
        if one is None or other is None:
            return False
        found = is_made_of(one, quality, other, its_quality)
        self._answers.keep(question, json.dumps(found).encode())
        return found

    def edits(
        self, found: Verification, query: ImageRecord, candidate: ImageRecord, file: File
    ) -> tuple[Edit, ...] | None:
        """Return what was done to the candidate to get the query, None where one cannot be read."""
        question = Question("edits", query.sha256, candidate.sha256, digest_of(found))
        kept = self._answers.find(question)
        if kept is not None:
            return tuple(Edit(kind, amount) for kind, amount in json.loads(kept))
        candidate_file = file(candidate)
        query_file = None if candidate_file is None else file(query)
        if query_file is None or candidate_file is None:
            return None
        edits = tuple(edits_between(found, query_file, candidate_file))
        shape = [[edit.kind, None if edit.amount is None else float(edit.amount)] for edit in edits]
        self._answers.keep(question, json.dumps(shape).encode())
        return edits

    def apart(
        self, laid: Sequence[tuple[ImageRecord, Model]], centre: ImageRecord, file: File
    ) -> Sequence[float | None]:
        """Return how far each of several pictures is from the others on the average, None for those nobody can read.

        laid: with the model (3, 3) that lays each over the centre.
        """
        onto = (centre.width, centre.height)
        parts = [part for image, model in laid for part in (image.sha256, np.asarray(model, np.float64))]
        question = Question("apart", centre.sha256, about=digest(onto, *parts))
        kept = self._answers.find(question)
        if kept is not None:
            return list(json.loads(kept))
        files = [file(image) for image, _ in laid]
        seen = [(image, model, read) for (image, model), read in zip(laid, files, strict=True) if read is not None]
        means = iter(_mean_distances(seen, onto))
        found = [None if read is None else next(means) for read in files]
        if len(seen) == len(laid):
            self._answers.keep(question, json.dumps(found).encode())
        return found


def _mean_distances(seen: Sequence[tuple[ImageRecord, Model, PictureFile]], onto: Size) -> list[float]:
    if not seen:
        return []
    sizes = [(image.width, image.height) for image, _, _ in seen]
    found = distances([read.pixels for *_, read in seen], [model for _, model, _ in seen], sizes, onto)
    np.fill_diagonal(found, np.nan)
    # Where two pictures do not meet there is nothing to count.
    met = np.maximum(np.isfinite(found).sum(axis=1), 1)
    mean = np.where(np.isfinite(found).any(axis=1), np.nan_to_num(found).sum(axis=1) / met, np.inf)
    return [float(one) for one in mean]


def _text_of(measured: Measured) -> bytes:
    levels = None if measured.profile is None else [float(one) for one in measured.profile.levels]
    return json.dumps([levels, measured.quality, bool(measured.lossless), measured.tags]).encode()


def _measured_of(answer: bytes) -> Measured:
    levels, quality, lossless, tags = json.loads(answer)
    profile = None if levels is None else DetailProfile(np.array(levels, np.float64))
    return Measured(profile, quality, lossless, tags)
