"""Maps of pictures by the built-in backbone, and where an accurate search asks for them."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache

import cv2
import numpy as np
import pytest

from indexer.backbones.backbones import BUILTIN_PREPARATION
from indexer.backbones.builtin_facts import BUILTIN, DIMS, WEIGHTS_SHA256
from indexer.backbones.dihedral import make_plain
from indexer.backbones.dihedral_network import DihedralNetwork, Shape
from indexer.backbones.joined_views import JoinedViews
from indexer.backbones.map_maker import BUILTIN_SIDE, FINE, NetworkMaps, map_maker
from indexer.backbones.space_maps import LOADING, SpaceMaps
from search.finding.accurate import AccurateSearch, Candidate, SeenPicture
from search.finding.find_similar import Wanted
from search.geometry.dense_maps import DenseMap, compare_maps
from search.geometry.keypoints import Keypoints, extract
from search.geometry.pixel_edits import PictureFile
from search.geometry.verify import prepare, verify
from search.records import ImageRecord, Match, SpaceSpec
from tests.drawn_pictures import Pixels, smooth, textured

SPACE = SpaceSpec(BUILTIN, WEIGHTS_SHA256, BUILTIN_PREPARATION.as_json(), DIMS, weights="builtin")
IMAGES = [
    ImageRecord(number, f"{number}", "", 400, 300, 1, "png", bytes([number]) * 32, b"", 0, 0) for number in (1, 2)
]


@pytest.fixture(scope="module")
def maps() -> SpaceMaps:
    return SpaceMaps(SPACE)


@cache
def whole(number: int) -> Pixels:
    """Return the picture of an image, without texture."""
    return np.asarray(cv2.GaussianBlur(textured(5 + number, 800, 600), (0, 0), 24), np.uint8)


@cache
def part() -> Pixels:
    """Return a part of the first picture, turned by six degrees: no turn and no crop lays it over the whole."""
    turn = cv2.getRotationMatrix2D((400, 300), 6, 1.0)
    turned = cv2.warpAffine(textured(6, 800, 600), turn, (800, 600))[120:480, 160:640]
    return np.asarray(cv2.GaussianBlur(np.ascontiguousarray(turned), (0, 0), 24), np.uint8)


def as_file(pixels: Pixels, name: str) -> PictureFile:
    return PictureFile(pixels, "PNG", name)


def test_the_map_of_a_picture_is_fine_enough_to_say_where(maps: SpaceMaps) -> None:
    bright_corner = np.zeros((300, 400, 3), np.uint8)
    bright_corner[:75, 300:] = textured(1, 100, 75)
    here, empty = maps(as_file(bright_corner, "")), maps(as_file(np.zeros((300, 400, 3), np.uint8), ""))
    assert here is not None
    assert empty is not None
    assert here.dtype == np.float32
    _, rows, columns = here.shape
    assert min(rows, columns) >= FINE
    changed = np.abs(here - empty).sum(axis=0)
    row, column = np.unravel_index(changed.argmax(), changed.shape)
    assert row < rows / 3
    assert column > columns * 2 / 3


def test_the_network_of_later_weights_has_maps_too() -> None:
    network = JoinedViews(DihedralNetwork(Shape()), Shape().dims)
    make_plain(network)
    larger = replace(BUILTIN_PREPARATION, height=BUILTIN_SIDE, width=BUILTIN_SIDE)
    found = NetworkMaps(network.eval().get_submodule("network"), larger)(whole(1))
    assert found is not None
    assert min(found.shape[1:]) >= FINE


def test_who_waits_for_the_network_is_told_once() -> None:
    told: list[str] = []
    maps = SpaceMaps(SpaceSpec(BUILTIN, "0" * 64, BUILTIN_PREPARATION.as_json(), DIMS, weights="builtin"), told.append)
    assert told == [], "most searches need none"
    maps(as_file(smooth(1), "x"))
    maps(as_file(smooth(2), "y"))
    assert told == [LOADING]


def test_maps_are_remembered_by_content_and_not_made_of_parts_twice(maps: SpaceMaps) -> None:
    picture = smooth(3)
    assert maps(as_file(picture, "x")) is maps(as_file(picture, "x"))
    assert maps(as_file(picture, "")) is not maps(as_file(picture, ""))


def test_a_space_that_nothing_here_can_embed_has_no_maps() -> None:
    assert map_maker(SpaceSpec(BUILTIN, "0" * 64, BUILTIN_PREPARATION.as_json(), DIMS, weights="builtin")) is None


def test_a_blank_picture_is_never_recognised_by_its_map(maps: SpaceMaps) -> None:
    white, grey = np.full((300, 400, 3), 255, np.uint8), np.full((300, 400, 3), 128, np.uint8)
    for one, other in ((white, white), (white, grey), (white, smooth(3))):
        known = [maps(as_file(picture, "")) for picture in (one, other)]
        assert known[0] is not None
        assert known[1] is not None
        assert compare_maps(extract(one), extract(other), known[0], known[1]).answer == "cannot"


class SmoothPictures:
    """The stored pictures: the first shows what is asked for, the second does not."""

    def keypoints(self, images: Sequence[ImageRecord]) -> Iterator[Keypoints]:
        return (extract(whole(image.id)) for image in images)

    def file(self, image: ImageRecord) -> PictureFile:
        return as_file(whole(image.id), str(image.id))


def searched(maps: SpaceMaps | None) -> list[Match]:
    seen = SeenPicture(np.empty((0, DIMS), np.float32), prepare(part()), as_file(part(), "query"), None)
    search = AccurateSearch(None, None, SmoothPictures(), maps=maps)  # type: ignore[arg-type]
    return search.matches(seen, [Candidate(image, 0.5, 0.5, 0, 0.5) for image in IMAGES], Wanted(k=2))


def test_what_keypoints_and_pixels_cannot_judge_is_recognised_by_its_map(maps: SpaceMaps) -> None:
    assert verify(prepare(part()), extract(whole(1))).answer == "cannot"
    assert [match.verified for match in searched(None)] == ["cannot", "cannot"]
    assert [(match.image.id, match.verified) for match in searched(maps)] == [(1, "yes"), (2, "cannot")]


def test_without_a_map_it_stays_undecided() -> None:
    def none(picture: PictureFile) -> DenseMap | None:
        return None

    assert [match.verified for match in searched(none)] == ["cannot", "cannot"]  # type: ignore[arg-type]
