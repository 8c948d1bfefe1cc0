"""How far an accurate search looks: the likeliest first, up to where it is in vain."""

from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np
import pytest

from search.embeddings import unit_rows
from search.finding import accurate
from search.finding.accurate import AccurateSearch, Candidate, SeenPicture, background_levels
from search.finding.find_similar import Wanted
from search.finding.generations import Generations
from search.finding.snapshot import SnapshotReader
from search.geometry.keypoints import Keypoints, extract
from search.geometry.pixel_edits import PictureFile
from search.geometry.verify import prepare, verify_in_order
from search.records import Collection, ImageRecord, Match
from search.storing.commits import Batch, Committer
from search.storing.store import Store
from tests.drawn_pictures import indexed, textured
from tests.fakes import FAKE_DIMS, FakeBackbone, new_image

SAME, OTHER, HALF = 1, 2, 0  # drawn pictures; the last is SAME with half of it behind another


@cache
def half_covered() -> Keypoints:
    covered = textured(SAME)
    covered[:, 200:] = textured(OTHER)[:, 200:]
    return extract(covered)


class DrawnPictures:
    """Images of drawn pictures, by their place among the candidates; remembers which were asked for."""

    def __init__(self, drawn: dict[int, int]) -> None:
        """drawn: the number of the picture at each place; OTHER where none is given."""
        self._drawn = drawn
        self.looked_at: list[int] = []

    def keypoints(self, images: Sequence[ImageRecord]) -> Iterator[Keypoints]:
        for place in range(len(images)):
            self.looked_at.append(place)
            number = self._drawn.get(place, OTHER)
            yield half_covered() if number == HALF else indexed(number)

    def file(self, image: ImageRecord) -> PictureFile | None:
        return None


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[ImageRecord]]:
    """120 images of an album, whose embeddings do not matter."""
    with Store.create(tmp_path_factory.mktemp("album") / "store") as store:
        _commit(store, 120)
        records = store.catalogue.images_by_id(1, range(1, 121))
        yield [records[number] for number in range(1, 121)]


def _commit(store: Store, count: int) -> Collection:
    target = store.open_collection("default", FakeBackbone().space)
    rows = unit_rows(np.random.default_rng(count).normal(size=(count, FAKE_DIMS)))
    Committer(store.database, store.blobs, target).commit(
        Batch([new_image(str(number)) for number in range(count)], rows)
    )
    return target


def searched(images: list[ImageRecord], drawn: dict[int, int], threads: int = 1) -> tuple[list[Match], list[int]]:
    """Return the matches, and which places were looked at; candidate N scores N / 1000 less than the first."""
    pictures = DrawnPictures(drawn)
    search = AccurateSearch(None, None, pictures, None, threads)  # type: ignore[arg-type]
    scores = [0.9 - place / 1000 for place in range(len(images))]
    candidates = [Candidate(image, score, score, 0, score) for image, score in zip(images, scores, strict=True)]
    views = np.empty((0, FAKE_DIMS), np.float32)
    seen = SeenPicture(views, prepare(textured(SAME)), None, None)
    return search.matches(seen, candidates, Wanted(k=len(images))), pictures.looked_at


def test_as_long_as_none_is_the_same_picture_twice_as_many_are_looked_at(images: list[ImageRecord]) -> None:
    matches, looked_at = searched(images, {})
    assert looked_at == list(range(accurate.IN_VAIN))
    assert {match.verified for match in matches[: accurate.IN_VAIN]} == {"no"}
    assert {match.verified for match in matches[accurate.IN_VAIN :]} == {None}


def test_a_picture_far_behind_is_found_where_nothing_before_it_is_the_same(images: list[ImageRecord]) -> None:
    matches, looked_at = searched(images, {87: SAME})
    assert (matches[0].image.id, matches[0].verified) == (images[87].id, "yes")
    assert len(looked_at) == 88, "what is behind it is looked at in vain"


def test_what_has_a_part_in_common_comes_after_the_same_and_before_everything_else(images: list[ImageRecord]) -> None:
    matches, _ = searched(images, {4: HALF, 9: SAME})
    first = [(match.image.id, match.verified) for match in matches[:3]]
    assert first == [(images[9].id, "yes"), (images[4].id, "no"), (images[0].id, "no")]


def test_after_one_that_is_the_same_patience_ends_it(images: list[ImageRecord]) -> None:
    _, looked_at = searched(images, {3: SAME})
    assert len(looked_at) <= 3 + 1 + accurate.PATIENCE + 8


def test_the_answers_are_the_same_with_any_number_of_threads() -> None:
    query = prepare(textured(SAME))
    candidates = [indexed(SAME if place in {4, 5, 11} else OTHER) for place in range(21)]

    def answers(threads: int) -> list[tuple[str, int, int]]:
        found = verify_in_order(query, candidates, patience=6, threads=threads)
        return [(one.answer, one.inliers, one.matches) for one in found]

    alone = answers(1)
    assert [place for place, one in enumerate(alone) if one[0] == "yes"] == [4, 5, 11]
    assert len(alone) == 11 + 1 + 6
    assert answers(2) == answers(3) == alone


@pytest.mark.parametrize("published", [False, True])
def test_the_background_of_a_query_is_what_it_scores_with_those_near_the_top_of_a_sample(
    store: Store, published: bool
) -> None:
    target = _commit(store, 520)
    if published:
        Generations(store.database, store.blobs, target).publish(store.catalogue.collection("default").sequence)
    snapshot = SnapshotReader(store.database, store.blobs, target).current()
    queries = unit_rows(np.random.default_rng(7).normal(size=(3, FAKE_DIMS)))
    _, rows = snapshot.rows()
    sampled = rows[np.linspace(0, 519, accurate.BACKGROUND).astype(int)]
    expected = [np.sort(sampled @ query)[::-1][1:4].mean() for query in queries]
    np.testing.assert_allclose(background_levels(snapshot, queries), expected, atol=1e-5)


def test_a_small_collection_has_no_background(store: Store) -> None:
    target = _commit(store, accurate.BACKGROUND - 1)
    snapshot = SnapshotReader(store.database, store.blobs, target).current()
    assert background_levels(snapshot, unit_rows(np.ones((2, FAKE_DIMS)))) == [0.0, 0.0]
