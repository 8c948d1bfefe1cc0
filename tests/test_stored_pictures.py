"""The pixels of indexed images: read once, remembered by their content, and never fetched because a visitor asks."""

import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from indexer.decoding.decode import DecodeLimits, small_pixels
from indexer.stored_pictures import KEPT, READ_PIXELS, StoredFilePictures, keypoints_of
from search.errors import BadImage
from search.geometry.keypoint_cache import KeypointCache
from search.records import ImageRecord, uri_of_path

DRAWN = np.random.default_rng(1).integers(0, 256, (90, 120, 3)).astype(np.uint8).repeat(2, axis=0).repeat(2, axis=1)


class CountingPool:
    """Decodes in the calling thread and counts. fails: every picture cannot be decoded."""

    def __init__(self, *, fails: bool = False) -> None:
        self.decoded = 0
        self._fails = fails

    def pixels(self, data: bytes, size: int, name: str) -> np.ndarray:
        self.decoded += 1
        if self._fails:
            raise BadImage("truncated", name)
        return small_pixels(data, size, DecodeLimits())


def image_at(uri: str, data: bytes, number: int = 1) -> ImageRecord:
    sha256 = hashlib.sha256(data).digest()
    return ImageRecord(number, uri, uri, 240, 180, len(data), "png", sha256, bytes(16), 50.0, 0)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "drawn.png"
    Image.fromarray(DRAWN).save(path)
    return path


def pictures(pool: CountingPool, tmp_path: Path, *, remote: bool = False) -> StoredFilePictures:
    return StoredFilePictures(pool, KeypointCache(tmp_path / "kept", 2**24), remote=remote, threads=2)  # type: ignore[arg-type]


def test_an_image_is_decoded_once_however_often_it_is_asked_for(file: Path, tmp_path: Path) -> None:
    pool, image = CountingPool(), image_at(uri_of_path(str(file)), file.read_bytes())
    first = next(pictures(pool, tmp_path).keypoints([image]))
    again = next(pictures(pool, tmp_path).keypoints([image]))  # another process, say
    assert first is not None
    assert again is not None
    np.testing.assert_array_equal(first.descriptors, again.descriptors)
    assert pool.decoded == 1


def test_who_needs_keypoints_and_pixels_has_the_file_read_once(file: Path, tmp_path: Path) -> None:
    pool, image = CountingPool(), image_at(uri_of_path(str(file)), file.read_bytes())
    keypoints, whole = pictures(pool, tmp_path).looked_at(image)
    assert keypoints is not None
    assert whole is not None
    np.testing.assert_array_equal(whole.pixels, DRAWN)
    assert pool.decoded == 1


def test_pixels_asked_for_again_are_not_decoded_again_but_those_of_many_others_push_them_out(tmp_path: Path) -> None:
    pool, images = CountingPool(), []
    for number in range(KEPT + 1):
        path = tmp_path / f"{number}.png"
        Image.fromarray(np.roll(DRAWN, number, axis=0)).save(path)
        images.append(image_at(uri_of_path(str(path)), path.read_bytes(), number))
    here = pictures(pool, tmp_path)
    first, again = here.file(images[0]), here.file(images[0])
    assert first is not None
    assert again is not None
    np.testing.assert_array_equal(first.pixels, again.pixels)
    assert pool.decoded == 1
    for image in images:
        here.file(image)
    assert pool.decoded == KEPT + 1
    here.file(images[0])
    assert pool.decoded == KEPT + 2


def test_of_a_file_that_is_gone_the_keypoints_may_be_remembered(file: Path, tmp_path: Path) -> None:
    image = image_at(uri_of_path(str(file)), file.read_bytes())
    here = pictures(CountingPool(), tmp_path)
    before, _ = here.looked_at(image)
    file.unlink()
    assert here.looked_at(image) == (before, None)


def test_answers_come_in_the_order_of_the_images_and_what_cannot_be_read_is_none(file: Path, tmp_path: Path) -> None:
    data = file.read_bytes()
    there = image_at(uri_of_path(str(file)), data)
    gone = image_at(uri_of_path(str(tmp_path / "gone.png")), b"gone", 2)
    changed = image_at(uri_of_path(str(file)), b"as it was", 3)
    many = [gone, there, changed] * 20
    found = [keypoints is not None for keypoints in pictures(CountingPool(), tmp_path).keypoints(many)]
    assert found == [False, True, False] * 20
    assert pictures(CountingPool(fails=True), tmp_path / "other").file(there) is None


def test_who_wants_only_the_first_does_not_wait_for_all(file: Path, tmp_path: Path) -> None:
    images = []
    for number in range(60):
        path = tmp_path / f"{number}.png"
        Image.fromarray(np.roll(DRAWN, number, axis=1)).save(path)
        images.append(image_at(uri_of_path(str(path)), path.read_bytes(), number))
    pool = CountingPool()
    answers = pictures(pool, tmp_path).keypoints(images)
    assert next(answers) is not None
    answers.close()  # type: ignore[attr-defined]
    assert pool.decoded < 20


@pytest.mark.parametrize("uri", ["https://example.org/a.png", "s3://bucket/12.tar!/3.png"])
def test_a_server_never_fetches_an_image_of_another_machine(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def read(_self: object, asked_for: str, *_: object) -> bytes:
        asked.append(asked_for)
        raise BadImage("read_error", "there is no network here")

    monkeypatch.setattr("indexer.sources.stored_files.StoredFiles.read", read)
    image = image_at(uri, b"x")
    here = pictures(CountingPool(), tmp_path)
    assert (next(here.keypoints([image])), here.file(image), asked) == (None, None, [])
    anywhere = pictures(CountingPool(), tmp_path, remote=True)
    assert (anywhere.file(image), asked) == (None, [uri])


def test_places_are_those_of_the_whole_picture_also_where_a_reduced_copy_was_looked_at() -> None:
    large = Image.fromarray(DRAWN).resize((2 * READ_PIXELS, 3 * READ_PIXELS // 2), Image.Resampling.BICUBIC)
    file = io.BytesIO()
    large.save(file, "PNG")
    reduced = small_pixels(file.getvalue(), READ_PIXELS, DecodeLimits())
    assert max(reduced.shape) == READ_PIXELS
    found = keypoints_of(reduced, large.size)
    assert (found.width, found.height) == large.size
    assert found.points()[:, 0].max() > READ_PIXELS
