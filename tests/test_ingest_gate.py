"""What the ingest gate makes of scores and pixels: near copies, new pictures, and how many images are looked at."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest

from search.embeddings import unit_rows
from search.finding.find_similar import QueryContent
from search.finding.ingest_gate import GONE, Checked, Limits, NearGate, Seen, same_bytes, same_pixels
from search.finding.snapshot import SnapshotReader
from search.geometry.keypoints import Keypoints
from search.geometry.pixel_edits import PictureFile
from search.geometry.verify import prepare, prepared
from search.records import Collection, ContentFacts, Embeddings, ImageRecord
from search.storing.commits import Batch, Committer
from search.storing.store import Store
from tests.drawn_pictures import Pixels, indexed, smooth, textured
from tests.fakes import FAKE_DIMS, FakeBackbone, facts, new_image

SAME, OTHER = 1, 2  # drawn pictures; the one that is checked is SAME
LIMITS = Limits(threshold=0.8, look_from=0.6)


class DrawnFiles:
    """Images that show drawn pictures, by the last number of their uri; remembers which were looked at."""

    def __init__(self, shown: dict[int, int | None]) -> None:
        """shown: the number of the picture of each image, None where its file is gone; OTHER where nothing is said."""
        self._shown = shown
        self.asked_for: list[int] = []

    def keypoints(self, images: Sequence[ImageRecord]) -> Iterator[Keypoints | None]:
        for image in images:
            place = place_of(image)
            self.asked_for.append(place)
            number = self._shown.get(place, OTHER)
            yield None if number is None else indexed(number)

    def looked_at(self, image: ImageRecord) -> tuple[Keypoints | None, PictureFile | None]:
        return next(self.keypoints([image])), self.file(image)

    def file(self, image: ImageRecord) -> PictureFile | None:
        number = self._shown.get(place_of(image), OTHER)
        return None if number is None else PictureFile(textured(number), "JPEG", str(number))


def place_of(image: ImageRecord) -> int:
    return int(image.uri.rpartition("/")[2])


def seen() -> Seen:
    return prepared(indexed(SAME)), PictureFile(textured(SAME), "JPEG", "asked")


def at_cosine(score: float) -> Embeddings:
    """Return an embedding that has this cosine with `asked`."""
    row = np.zeros((1, FAKE_DIMS), np.float32)
    row[0, :2] = score, (1 - score**2) ** 0.5
    return row


def checked(
    store: Store, scores: Sequence[float], shown: dict[int, int | None], facts_of: dict[int, ContentFacts] | None = None
) -> tuple[Checked, list[int]]:
    """Check SAME among images of these scores; return the answer, and which images were looked at, by place."""
    target = filled(store, np.concatenate([at_cosine(score) for score in scores]), facts_of or {})
    files = DrawnFiles(shown)
    snapshot = SnapshotReader(store.database, store.blobs, target).current()
    found = NearGate(snapshot, store.catalogue, lambda: files, LIMITS).check(at_cosine(1.0), seen)
    return found, files.asked_for


def filled(store: Store, rows: Embeddings, facts_of: dict[int, ContentFacts]) -> Collection:
    target = store.open_collection("default", FakeBackbone().space)
    images = [new_image(str(place), facts_of.get(place)) for place in range(len(rows))]
    Committer(store.database, store.blobs, target).commit(Batch(images, unit_rows(rows)))
    return target


def test_the_nearest_image_with_the_same_pixels_is_what_it_is_a_near_copy_of(local_store: Store) -> None:
    found, looked_at = checked(local_store, [0.9, 0.85, 0.3], {0: SAME})
    assert (found.status, found.evidence.verified, found.evidence.reason) == ("near", "yes", "the same picture")
    assert found.match is not None
    assert (place_of(found.match.image), found.match.relation) == (0, "same_picture")
    assert found.evidence.nearest == found.match.image.id
    assert found.evidence.score == pytest.approx(0.9, abs=1e-3)
    assert looked_at == [0], "one that shows the same ends it"


def test_of_several_that_score_enough_the_one_with_the_same_pixels_counts(local_store: Store) -> None:
    found, looked_at = checked(local_store, [0.95, 0.9, 0.85, 0.82], {2: SAME, 3: SAME})
    assert found.match is not None
    assert place_of(found.match.image) == 2
    assert looked_at == [0, 1, 2]


def test_pixels_of_another_picture_make_it_new_however_it_scores(local_store: Store) -> None:
    found, looked_at = checked(local_store, [0.99, 0.97, 0.96, 0.95, 0.94], {})
    assert (found.status, found.match, found.evidence.verified) == ("new", None, "no")
    assert found.evidence.score == pytest.approx(0.99, abs=1e-3)
    assert looked_at == [0, 1, 2], "an upload must not wait for more"


def test_below_the_threshold_a_copy_counts_if_its_pixels_are_the_same(local_store: Store) -> None:
    found, looked_at = checked(local_store, [0.7, 0.65], {0: SAME, 1: SAME})
    assert found.match is not None
    assert (found.status, place_of(found.match.image), looked_at) == ("near", 0, [0])


def test_what_is_far_away_is_not_looked_at(local_store: Store) -> None:
    found, looked_at = checked(local_store, [0.59, 0.2], {0: SAME})
    assert (found.status, found.evidence.verified, looked_at) == ("new", None, [])
    assert found.evidence.score == pytest.approx(0.59, abs=1e-3)


@pytest.mark.parametrize(("score", "status"), [(0.81, "near"), (0.79, "new")])
def test_where_nobody_can_look_the_threshold_decides(local_store: Store, score: float, status: str) -> None:
    found, _ = checked(local_store, [score], {0: None})
    assert (found.status, found.evidence.verified, found.evidence.reason) == (status, "cannot", GONE)
    assert found.match is None or (found.match.relation, found.match.verified) == ("probable", "cannot")


def test_one_that_cannot_be_looked_at_does_not_hide_a_copy_behind_it(local_store: Store) -> None:
    found, _ = checked(local_store, [0.95, 0.9], {0: None, 1: SAME})
    assert found.match is not None
    assert (place_of(found.match.image), found.evidence.verified) == (1, "yes")


def test_a_blank_image_is_a_near_copy_of_nothing(local_store: Store) -> None:
    blank = {0: replace(facts("0"), contrast=1.0)}
    found, looked_at = checked(local_store, [0.99, 0.3], {0: SAME}, blank)
    assert (found.status, looked_at) == ("new", [])


def test_an_empty_collection_knows_nothing_alike(local_store: Store) -> None:
    target = local_store.open_collection("default", FakeBackbone().space)
    snapshot = SnapshotReader(local_store.database, local_store.blobs, target).current()
    found = NearGate(snapshot, local_store.catalogue, lambda: DrawnFiles({}), LIMITS).check(at_cosine(1.0), seen)
    assert (found.status, found.evidence.score, found.evidence.nearest) == ("new", None, None)


def test_an_image_does_not_count_as_a_copy_of_itself(store: Store) -> None:
    target = filled(store, at_cosine(0.9), {})
    image = store.catalogue.image_by_key(target.id, new_image("0").key)
    content = QueryContent(image.sha256, image.pixel_hash)
    named = same_bytes(store.catalogue, target, image.sha256)
    assert named is not None
    assert named.match is not None
    assert named.match.image == image
    assert same_bytes(store.catalogue, target, image.sha256, but=image.id) is None
    assert same_pixels(store.catalogue, target, content, but=image.id) is None
    snapshot = SnapshotReader(store.database, store.blobs, target).current()
    gate = NearGate(snapshot, store.catalogue, lambda: DrawnFiles({0: SAME}), LIMITS)
    assert gate.check(at_cosine(1.0), seen).status == "near"
    assert gate.check(at_cosine(1.0), seen, but=image.id).status == "new"


def test_bytes_and_pixels_are_told_apart(store: Store) -> None:
    target = filled(store, np.concatenate([at_cosine(0.9), at_cosine(0.1)]), {})
    first = store.catalogue.image_by_key(target.id, new_image("0").key)
    assert same_bytes(store.catalogue, target, b"?" * 32) is None
    found = same_pixels(store.catalogue, target, QueryContent(b"?" * 32, first.pixel_hash))
    assert found is not None
    assert (found.status, found.evidence.same_bytes, found.evidence.same_pixels) == ("exact", False, True)
    assert found.match is not None
    assert found.match.image == first


def test_a_picture_without_texture_is_a_near_copy_by_its_score_alone(local_store: Store) -> None:
    target = filled(local_store, at_cosine(0.9), {})
    snapshot = SnapshotReader(local_store.database, local_store.blobs, target).current()
    gate = NearGate(snapshot, local_store.catalogue, lambda: DrawnFiles({}), LIMITS)

    def see_smooth() -> Seen:
        pixels: Pixels = smooth(SAME)
        return prepare(pixels), PictureFile(pixels, "JPEG", "asked")

    found = gate.check(at_cosine(1.0), see_smooth)
    assert (found.status, found.evidence.verified) == ("near", "cannot")
