"""Pages of one form are told apart wherever copies are looked for: dedup, the ingest gate, accurate searches."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from indexer.stored_pictures import StoredFilePictures
from search.duplicates.answer_file import FOLDER, AnswerFile
from search.duplicates.find_duplicates import Looking, find_duplicates
from search.duplicates.report import DuplicateReport, DuplicateRequest
from search.finding.accurate import AccurateSearch, Candidate, SeenPicture
from search.finding.find_similar import Wanted
from search.finding.ingest_gate import Limits, NearGate, Seen
from search.finding.snapshot import Snapshot, SnapshotReader
from search.geometry.keypoint_cache import KeypointCache
from search.geometry.pixel_edits import PictureFile
from search.geometry.verification import ANOTHER_PAGE, SAME
from search.geometry.verify import prepare
from search.records import ImageRecord
from search.storing.store import Store
from tests.drawn_forms import letter
from tests.drawn_pictures import Pixels, compressed
from tests.fakes import FAKE_DIMS, InProcessDecoder
from tests.jobs import index


class Letters:
    """A folder with two letters of one form that is indexed."""

    def __init__(self, store: Store, photos: Path, scratch: Path) -> None:
        self.store = store
        self.files = [photos / f"{number}.png" for number in (1, 2)]
        for number, place in enumerate(self.files, start=1):
            Image.fromarray(letter(number)).save(place)
        index(store, photos)
        cache = KeypointCache(scratch, 1 << 24)
        self.eyes = StoredFilePictures(InProcessDecoder(), cache, remote=False, threads=1)  # type: ignore[arg-type]

    def snapshot(self) -> Snapshot:
        target = self.store.catalogue.collection("default")
        return SnapshotReader(self.store.database, self.store.blobs, target).current()

    def image(self, number: int) -> ImageRecord:
        images = self.store.catalogue.images_by_id(1, self.snapshot().all_ids().tolist()).values()
        return next(image for image in images if image.uri.endswith(f"/{number}.png"))

    def dedup(self) -> DuplicateReport:
        with AnswerFile(self.store.root / FOLDER, "1") as answers:
            looking = Looking(self.eyes, 1, answers)
            return find_duplicates(self.snapshot(), self.store.catalogue, DuplicateRequest(None, -1.0), (), looking)

    @contextmanager
    def without_files(self) -> Iterator[None]:
        """Take the files away; what is known of their keypoints stays."""
        for place in self.files:
            place.rename(place.with_suffix(".away"))
        yield
        for place in self.files:
            place.with_suffix(".away").rename(place)


@pytest.fixture
def letters(local_store: Store, photos: Path, tmp_path: Path) -> Letters:
    return Letters(local_store, photos, tmp_path / "keypoints")


def test_dedup_lists_pages_of_one_form_as_similar_and_never_as_copies(letters: Letters) -> None:
    for known in (0, 1):  # also where the answer was kept
        report = letters.dedup()
        assert (report.groups, report.known) == ((), known)
        (pages,) = report.similar
        assert (pages.kind, len(pages.images)) == ("another_page", 2)


def test_what_keypoints_said_of_pages_whose_files_were_gone_is_not_kept(letters: Letters) -> None:
    list(letters.eyes.keypoints([letters.image(1), letters.image(2)]))
    with letters.without_files():
        assert len(letters.dedup().groups) == 1
    assert letters.dedup().groups == ()


def picture(pixels: Pixels) -> PictureFile:
    return PictureFile(pixels, "JPEG", "asked")


def test_the_gate_calls_another_page_new_and_the_same_page_a_near_copy(letters: Letters) -> None:
    gate = NearGate(letters.snapshot(), letters.store.catalogue, lambda: letters.eyes, Limits(-1.0, -1.0))
    embedding = letters.snapshot().embedding_of(letters.image(1).id)
    for number, status, reason in ((3, "new", ANOTHER_PAGE), (1, "near", SAME)):
        asked = compressed(letter(number), 50)

        def see(asked: Pixels = asked) -> Seen:
            return prepare(asked), picture(asked)

        found = gate.check(embedding, see)
        assert (found.status, found.evidence.reason) == (status, reason)


def test_an_accurate_search_names_the_same_page_first_and_another_page_is_no_copy(letters: Letters) -> None:
    search = AccurateSearch(letters.snapshot(), letters.store.catalogue, letters.eyes)
    asked = compressed(letter(2), 50)
    seen = SeenPicture(np.empty((0, FAKE_DIMS), np.float32), prepare(asked), picture(asked), None)
    candidates = [Candidate(letters.image(number), 0.9, 0.9, 0, 0.9) for number in (1, 2)]
    first, second = search.matches(seen, candidates, Wanted(k=2, threshold=0.5))
    assert (first.image, first.verified, first.relation) == (letters.image(2), "yes", "same_picture")
    assert (second.image, second.verified, second.relation) == (letters.image(1), "no", "similar")
