"""Questions about pictures are answered from what is known, and nothing is kept of files that cannot be read."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest

from search.duplicates.answers import NoAnswers, Question
from search.duplicates.measuring import Measured
from search.duplicates.picture_facts import PictureFacts
from search.geometry.enlargement import DetailProfile
from search.geometry.keypoints import Keypoints
from search.geometry.pixel_edits import PictureFile
from search.geometry.verify import prepare, verify
from search.records import ImageRecord
from tests.drawn_pictures import Pixels, indexed, textured
from tests.duplicate_groups import image_named

IMAGES = [image_named(number) for number in range(3)]
FOUND = verify(prepare(textured(1)), indexed(1))
LEFT_HALF = np.array(((0.0, 0.0), (200.0, 0.0), (200.0, 300.0), (0.0, 300.0)))


class Answered(NoAnswers):
    """Keeps answers in memory."""

    def __init__(self) -> None:
        self.kept: dict[Question, bytes] = {}

    def find(self, question: Question) -> bytes | None:
        return self.kept.get(question)

    def keep(self, question: Question, answer: bytes) -> None:
        self.kept[question] = answer


class Drawn:
    """Drawn pictures of IMAGES, of which some cannot be read; counts how often one was."""

    def __init__(self, *, gone: Sequence[int] = ()) -> None:
        self.gone, self.read = gone, 0

    def keypoints(self, images: Sequence[ImageRecord]) -> Iterator[Keypoints | None]:
        raise NotImplementedError

    def file(self, image: ImageRecord) -> PictureFile | None:
        self.read += 1
        grey = np.full((300, 400, 3), 40 * image.id, np.uint8)
        shown = textured(1) if image.id == 0 else np.asarray(textured(1) // 2 + grey // 2, np.uint8)
        return None if image.id in self.gone else PictureFile(shown, "PNG", str(image.id))

    def whole(self, image: ImageRecord) -> Pixels | None:
        read = self.file(image)
        return None if read is None else read.pixels

    def measured(self, images: Sequence[ImageRecord]) -> list[Measured | None]:
        self.read += len(images)
        known = Measured(DetailProfile(np.linspace(0, 1 / 3, 40)), None, True, 7)
        return [None if image.id in self.gone else known for image in images]


def apart(facts: PictureFacts) -> object:
    return facts.apart([(image, np.eye(3)) for image in IMAGES], IMAGES[0], facts.file)


def measured(facts: PictureFacts) -> object:
    found = facts.measured(IMAGES)
    return [one and (one.profile and one.profile.levels.tolist(), one.quality, one.lossless, one.tags) for one in found]


QUESTIONS: list[Callable[[PictureFacts], object]] = [
    apart,
    measured,
    lambda facts: facts.is_made_of(IMAGES[1], 90, IMAGES[0], 60),
    lambda facts: facts.edits(FOUND, IMAGES[1], IMAGES[0], facts.file),
    lambda facts: facts.is_grey(FOUND, IMAGES[1], IMAGES[0], facts.file),
    lambda facts: facts.beyond(IMAGES[1], LEFT_HALF, (400, 300), facts.file),
]


@pytest.mark.parametrize("ask", QUESTIONS)
def test_what_was_answered_is_answered_again_without_a_look(ask: Callable[[PictureFacts], object]) -> None:
    answers, first = Answered(), Drawn()
    seen = ask(PictureFacts(first, answers))
    assert first.read > 0
    blind = Drawn()
    assert ask(PictureFacts(blind, answers)) == seen == ask(PictureFacts(Drawn()))
    assert blind.read == 0


@pytest.mark.parametrize("ask", QUESTIONS)
def test_what_a_missing_file_left_open_is_not_kept(ask: Callable[[PictureFacts], object]) -> None:
    answers = Answered()
    without = ask(PictureFacts(Drawn(gone=[1]), answers))
    assert without == ask(PictureFacts(Drawn(gone=[1])))
    again = Drawn()
    assert ask(PictureFacts(again, answers)) == ask(PictureFacts(Drawn()))
    assert again.read > 0


def test_only_what_is_not_known_is_measured() -> None:
    answers = Answered()
    PictureFacts(Drawn(), answers).measured(IMAGES[:2])
    eyes = Drawn()
    assert None not in PictureFacts(eyes, answers).measured(IMAGES)
    assert eyes.read == 1


def test_another_model_is_another_question() -> None:
    answers, eyes = Answered(), Drawn()
    facts = PictureFacts(eyes, answers)
    facts.beyond(IMAGES[1], LEFT_HALF, (400, 300), facts.file)
    facts.beyond(IMAGES[1], LEFT_HALF * 0.5, (400, 300), facts.file)
    assert eyes.read == 2
