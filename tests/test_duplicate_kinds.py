"""What the pixels of two files say about a pair decides whether they are copies, of which kind, and which one stays."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from indexer.stored_pictures import StoredFilePictures
from search.duplicates.find_duplicates import Looking, find_duplicates
from search.duplicates.groups import DuplicateGroup
from search.duplicates.keeper_rules import KeeperRules
from search.duplicates.report import DuplicateReport, DuplicateRequest
from search.finding.snapshot import SnapshotReader
from search.geometry.keypoint_cache import KeypointCache
from search.storing.store import Store
from search.storing.verdicts import Verdicts, verdict_on
from tests.conftest import painted
from tests.drawn_pictures import Pixels, smooth, textured
from tests.fakes import FakeBackbone, InProcessDecoder
from tests.jobs import index

FLOOR = -1.0
Find = Callable[..., DuplicateReport]
MOMENT_TAG, EXIF_TAG = 0x9003, 0x8769


@pytest.fixture
def find(local_store: Store, photos: Path, tmp_path: Path) -> Find:
    """A function that indexes the photographs and finds duplicates, by their pixels."""

    def found(
        threshold: float | None = None,
        rules: KeeperRules | None = None,
        *,
        blind: bool = False,
        floor: float = FLOOR,
        **options: object,
    ) -> DuplicateReport:
        index(local_store, photos)
        target = local_store.catalogue.collection("default")
        snapshot = SnapshotReader(local_store.database, local_store.blobs, target).current()
        cache = KeypointCache(tmp_path / "keypoints", 1 << 24)
        eyes = StoredFilePictures(InProcessDecoder(), cache, remote=False, threads=1)  # type: ignore[arg-type]
        request = DuplicateRequest(threshold, floor, rules or KeeperRules(), **options)  # type: ignore[arg-type]
        said = Verdicts(local_store.database).all()
        return find_duplicates(snapshot, local_store.catalogue, request, said, Looking(None if blind else eyes))

    return found


def save(place: Path, pixels: Pixels, *, taken_at: str | None = None, quality: int = 90) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    tags = Image.Exif()
    if taken_at is not None:
        tags.get_ifd(EXIF_TAG)[MOMENT_TAG] = taken_at
    options = {"quality": quality, "exif": tags} if place.suffix == ".jpg" else {}
    Image.fromarray(pixels).save(place, **options)  # type: ignore[arg-type]


def name(uri: str) -> str:
    return uri.rsplit("/", 1)[1]


def shown(group: DuplicateGroup) -> tuple[str, Mapping[str, str]]:
    return name(group.keeper.uri), {name(member.image.uri): member.kind for member in group.members}


ORIGINAL = textured(1, 480, 360)
COPIES: dict[str, Pixels] = {
    "saved.jpg": ORIGINAL,
    "small.jpg": np.asarray(cv2.resize(ORIGINAL, (240, 180), interpolation=cv2.INTER_AREA), np.uint8),
    "part.jpg": np.ascontiguousarray(ORIGINAL[30:330, 40:440]),
    "mirrored.jpg": np.ascontiguousarray(ORIGINAL[:, ::-1]),
    "grey.jpg": np.repeat(cv2.cvtColor(ORIGINAL, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2).astype(np.uint8),
}
KINDS = {
    "saved.jpg": "re_encoded", "small.jpg": "resized", "part.jpg": "cropped", "mirrored.jpg": "turned",
    "grey.jpg": "edited",
}  # fmt: skip


@pytest.mark.parametrize("copy", COPIES)
def test_a_copy_is_verified_and_says_of_which_kind_it_is(find: Find, photos: Path, copy: str) -> None:
    save(photos / "original.png", ORIGINAL)
    save(photos / copy, COPIES[copy])
    (group,) = find().groups
    (member,) = group.members
    assert shown(group) == ("original.png", {copy: KINDS[copy]})
    assert (member.verified, member.relation) == ("yes", "same_picture")
    assert member.edits


def test_another_picture_is_no_copy_whatever_it_scores(find: Find, photos: Path) -> None:
    save(photos / "one.png", textured(1))
    save(photos / "other.png", textured(2))
    assert find(threshold=-1.0).groups == ()


def test_a_picture_without_texture_counts_neither_by_its_pixels_nor_by_its_score(find: Find, photos: Path) -> None:
    ramp = np.tile(np.linspace(0, 255, 320), (240, 1)).astype(np.uint8)
    for number in range(2):
        save(photos / f"{number}.png", np.repeat(np.roll(ramp, number, axis=0)[..., None] // (number + 1), 3, axis=2))
    assert find(threshold=-1.0).groups == ()


def test_what_nobody_can_see_counts_by_its_score_only_where_somebody_stands_for_it(find: Find, photos: Path) -> None:
    save(photos / "one.jpg", ORIGINAL)
    save(photos / "other.jpg", ORIGINAL, quality=80)
    index_first = find(blind=True)
    assert index_first.groups == ()
    (group,) = find(threshold=0.9, blind=True).groups
    assert [(member.kind, member.verified, member.relation) for member in group.members] == [("near", None, "probable")]
    (photos / "other.jpg").unlink()
    (photos / "one.jpg").unlink()


def test_exact_copies_need_no_look_at_pixels(find: Find, photos: Path) -> None:
    save(photos / "one.png", ORIGINAL)
    (photos / "same.png").write_bytes((photos / "one.png").read_bytes())
    Image.fromarray(ORIGINAL).save(photos / "pixels.bmp")
    report = find(blind=True)
    (group,) = report.groups
    assert sorted(member.kind for member in group.members) == ["same_bytes", "same_pixels"] or sorted(
        member.kind for member in group.members
    ) == ["same_pixels", "same_pixels"]
    assert report.looked_at == 0


@pytest.mark.parametrize("name", ["enlarged.jpg", "enlarged.png"])
def test_the_enlarged_copy_does_not_beat_what_it_was_made_of(find: Find, photos: Path, name: str) -> None:
    photograph = real_looking(480, 360)
    save(photos / "original.jpg", photograph, quality=88)
    enlarged = cv2.resize(photograph, (960, 720), interpolation=cv2.INTER_CUBIC)
    save(photos / name, np.asarray(enlarged, np.uint8), quality=95)
    (group,) = find().groups
    assert shown(group) == ("original.jpg", {name: "resized"})
    assert group.reason == "most pixels"


def test_the_smaller_copy_does_not_beat_the_original(find: Find, photos: Path) -> None:
    photograph = real_looking(960, 720)
    save(photos / "original.jpg", photograph, quality=80)
    small = cv2.resize(photograph, (480, 360), interpolation=cv2.INTER_AREA)
    save(photos / "small.jpg", np.asarray(small, np.uint8), quality=98)
    assert [shown(group)[0] for group in find().groups] == ["original.jpg"]


def real_looking(width: int, height: int) -> Pixels:
    """Return a picture whose power falls by about 8 dB an octave, as that of photographs does, and with shapes."""
    rng = np.random.default_rng(3)
    spectrum = np.fft.rfft2(rng.normal(size=(height, width)))
    across, down = np.fft.rfftfreq(width)[None] * width, np.fft.fftfreq(height)[:, None] * height
    noise = np.fft.irfft2(spectrum / np.maximum(1, np.hypot(across, down)) ** 1.33, (height, width))
    levels = textured(5, width, height) * 0.5 + 60 + 25 * (noise / noise.std())[..., None]
    return np.asarray(np.clip(levels, 0, 255), np.uint8)


def test_a_lossless_file_of_a_jpeg_does_not_beat_it(find: Find, photos: Path) -> None:
    tags = Image.Exif()
    tags[0x010F] = "a camera"
    Image.fromarray(real_looking(480, 360)).save(photos / "original.jpg", quality=85, exif=tags)
    with Image.open(photos / "original.jpg") as opened:
        ImageOps.mirror(opened).save(photos / "mirrored.png")
        ImageOps.mirror(opened).save(photos / "mirrored.tif")
    (group,) = find().groups
    assert (name(group.keeper.uri), group.reason) == ("original.jpg", "most metadata")


def test_a_jpeg_saved_again_at_a_higher_quality_does_not_beat_what_it_was_made_of(find: Find, photos: Path) -> None:
    Image.fromarray(real_looking(480, 360)).save(photos / "original.jpg", quality=75)
    with Image.open(photos / "original.jpg") as opened:
        opened.save(photos / "again.jpg", quality=95)
    (group,) = find().groups
    assert (name(group.keeper.uri), group.reason) == ("original.jpg", "least compressed")


def test_a_frame_is_no_larger_field_of_view(find: Find, photos: Path) -> None:
    save(photos / "original.jpg", ORIGINAL)
    framed = cv2.copyMakeBorder(ORIGINAL, 40, 40, 40, 40, cv2.BORDER_CONSTANT, value=(255, 255, 255))
    save(photos / "framed.jpg", np.asarray(framed, np.uint8), quality=98)
    (group,) = find().groups
    assert shown(group)[0] == "original.jpg"
    assert group.reason == "shows more of the scene"


def test_a_crop_with_more_pixels_does_not_beat_what_it_was_cut_from(find: Find, photos: Path) -> None:
    wide = textured(1, 640, 480)
    part = cv2.resize(wide[60:420, 80:560], (960, 720), interpolation=cv2.INTER_CUBIC)
    save(photos / "wide.jpg", wide)
    save(photos / "part.png", np.asarray(part, np.uint8))
    (group,) = find().groups
    assert (shown(group), group.reason) == (("wide.jpg", {"part.png": "cropped"}), "shows more of the scene")


def test_shots_taken_seconds_apart_are_a_burst_and_no_duplicates(find: Find, photos: Path) -> None:
    save(photos / "1.jpg", ORIGINAL, taken_at="2024:05:01 10:00:00")
    save(photos / "2.jpg", ORIGINAL, taken_at="2024:05:01 10:00:01", quality=85)
    save(photos / "again.jpg", ORIGINAL, taken_at="2024:05:01 10:00:00", quality=60)
    report = find()
    assert [shown(group) for group in report.groups] == [("1.jpg", {"again.jpg": "re_encoded"})]
    (shots,) = report.similar
    assert (shots.kind, [name(image.uri) for image in shots.images]) == ("burst", ["1.jpg", "2.jpg"])


def test_a_verdict_outlives_moving_and_indexing_again(find: Find, photos: Path, local_store: Store) -> None:
    save(photos / "original.png", ORIGINAL)
    save(photos / "small.jpg", COPIES["small.jpg"])
    say(local_store, find().groups[0], "keep_both")
    assert find().groups == ()
    (photos / "elsewhere").mkdir()
    (photos / "small.jpg").rename(photos / "elsewhere" / "moved.jpg")
    assert find().groups == ()
    assert find(threshold=-1.0).groups == ()


def test_a_verdict_outlives_another_backbone(find: Find, photos: Path, local_store: Store, tmp_path: Path) -> None:
    save(photos / "original.png", ORIGINAL)
    save(photos / "small.jpg", COPIES["small.jpg"])
    say(local_store, find().groups[0], "not_duplicate")
    index(local_store, photos, backbone=FakeBackbone("another"), collection="new space")
    target = local_store.catalogue.collection("new space")
    snapshot = SnapshotReader(local_store.database, local_store.blobs, target).current()
    said = Verdicts(local_store.database).all()
    assert find_duplicates(snapshot, local_store.catalogue, DuplicateRequest(0.5, 0.5), said).groups == ()
    assert len(find_duplicates(snapshot, local_store.catalogue, DuplicateRequest(0.5, 0.5)).groups) == 1


def test_what_was_answered_is_asked_again_only_when_a_new_member_joins(
    find: Find, photos: Path, local_store: Store
) -> None:
    save(photos / "original.png", ORIGINAL)
    save(photos / "small.jpg", COPIES["small.jpg"])
    (group,) = find().groups
    assert not group.answered
    say(local_store, group, "duplicate")
    assert [one.answered for one in find().groups] == [True]
    save(photos / "saved.jpg", ORIGINAL)
    (group,) = find().groups
    assert not group.answered
    assert {name(one.image.uri): one.confirmed for one in group.members} == {"small.jpg": True, "saved.jpg": False}


def test_same_pixels_that_a_person_keeps_apart_are_no_group(find: Find, photos: Path, local_store: Store) -> None:
    save(photos / "one.png", ORIGINAL)
    Image.fromarray(ORIGINAL).save(photos / "two.bmp")
    say(local_store, find(blind=True).groups[0], "keep_both")
    assert find().groups == ()


def say(store: Store, group: DuplicateGroup, word: str) -> None:
    from search.storing.verdicts import verdict_on

    one, other = group.keeper.sha256.hex(), group.members[0].image.sha256.hex()
    Verdicts(store.database).say([verdict_on(one, other, word)])


def test_a_stack_is_listed_however_low_it_scores_and_whichever_groups_its_images_are_in(
    find: Find, photos: Path, local_store: Store
) -> None:
    save(photos / "one.png", ORIGINAL)
    save(photos / "one.jpg", ORIGINAL)
    save(photos / "other.png", textured(2))
    index(local_store, photos)
    first, second = (hashlib.sha256((photos / name).read_bytes()).hexdigest() for name in ("one.jpg", "other.png"))
    Verdicts(local_store.database).say([verdict_on(first, second, "stack", 1.0)])
    report = find(floor=0.999)
    assert [shown(group) for group in report.groups] == [("one.png", {"one.jpg": "re_encoded"})]
    (stack,) = report.similar
    assert (stack.kind, {name(image.uri) for image in stack.images}) == ("stack", {"one.jpg", "other.png"})
    assert stack.score < 0.999


def test_only_what_lies_below_a_folder_is_compared(find: Find, photos: Path) -> None:
    save(photos / "a" / "one.png", ORIGINAL)
    save(photos / "a" / "two.jpg", ORIGINAL)
    save(photos / "b" / "three.jpg", ORIGINAL, quality=70)
    report = find(within=photos.resolve() / "a")
    assert (report.images, [shown(group) for group in report.groups]) == (2, [("one.png", {"two.jpg": "re_encoded"})])


def test_protected_files_are_kept_and_never_members(find: Find, photos: Path) -> None:
    save(photos / "masters" / "one.jpg", ORIGINAL, quality=60)
    save(photos / "masters" / "two.jpg", ORIGINAL, quality=65)
    save(photos / "copy.png", ORIGINAL)
    (group,) = find(rules=KeeperRules(protected=(photos.resolve() / "masters",))).groups
    assert group.reason == "in a protected folder, then least compressed"
    keeper, members = shown(group)
    assert (keeper, list(members)) == ("two.jpg", ["copy.png"])


def test_a_png_of_what_a_jpeg_shows_is_no_better_than_the_jpeg_that_says_more(find: Find, photos: Path) -> None:
    save(photos / "said.jpg", ORIGINAL, quality=97, taken_at="2024:05:06 07:08:09")
    Image.open(photos / "said.jpg").save(photos / "shown.png", exif=b"")
    (group,) = find().groups
    assert (shown(group), group.reason) == (("said.jpg", {"shown.png": "same_pixels"}), "most metadata")


def test_of_the_same_bytes_the_file_stays_whose_edits_lie_beside_it(find: Find, photos: Path) -> None:
    save(photos / "a.jpg", ORIGINAL)
    (photos / "rated").mkdir()
    (photos / "rated" / "longer-name.jpg").write_bytes((photos / "a.jpg").read_bytes())
    (photos / "rated" / "longer-name.xmp").write_text("<rating>5</rating>")
    (group,) = find().groups
    assert (shown(group)[0], group.reason) == ("longer-name.jpg", "most metadata")


def test_a_jpeg_beside_its_raw_file_is_no_member_alone(find: Find, photos: Path) -> None:
    save(photos / "a.png", ORIGINAL)
    save(photos / "b.jpg", ORIGINAL)
    assert len(find().groups) == 1
    (photos / "b.nef").write_bytes(b"the sensor's data")
    assert find().groups == ()


def test_a_smooth_picture_saved_again_is_verified(find: Find, photos: Path) -> None:
    save(photos / "one.png", smooth(4))
    save(photos / "two.jpg", smooth(4), quality=75)
    (group,) = find().groups
    assert [member.verified for member in group.members] == ["yes"]


def test_a_few_blobs_of_colour_agree_with_other_blobs_and_are_no_copies(find: Find, photos: Path) -> None:
    # Four by four smooth colours, of which the whole pictures agree in everything but their levels.
    for number in (18, 1000):
        save(photos / f"{number}.png", np.asarray(painted(number, (288, 240))))
    assert find().groups == ()
