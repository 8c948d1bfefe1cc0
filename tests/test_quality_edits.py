"""The edits of the quality bench: what they do to a picture, and that each of them gives a file."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from indexer.decoding.decode import DecodeLimits, decode
from indexer.quality.composing import collage_of_four, half_covered, laid_into
from indexer.quality.edits import EDITS, STRATA, EditKind
from indexer.quality.imagededup_protocol import GROUP, as_their_originals, transformed
from indexer.quality.painting import (
    cast,
    cropped,
    nearly_blank,
    padded,
    part_of,
    pixelised,
    placed_on,
    squashed,
    striped,
    through_lens,
    vignetted,
)
from tests.conftest import painted

DOCS = Path(__file__).parents[1] / "docs" / "quality.md"
KINDS = {edit.name: edit for edit in EDITS}
PARTNERS = (painted(901, (80, 60)), painted(902, (60, 80)), painted(903, (70, 70)))


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def plain(colour: tuple[int, int, int], size: tuple[int, int] = (40, 30)) -> Image.Image:
    return Image.new("RGB", size, colour)


@pytest.mark.parametrize("edit", EDITS, ids=list(KINDS))
def test_every_edit_gives_a_file_that_the_product_decodes_and_leaves_the_picture_alone(edit: EditKind) -> None:
    picture = painted(7, (144, 108))
    before = picture.tobytes()
    file = edit.apply(picture, rng(), PARTNERS)
    assert decode(file, DecodeLimits()).pixels.size > 0
    assert file == edit.apply(picture, rng(), PARTNERS), "the same generator gives the same file"
    assert picture.tobytes() == before


@pytest.mark.parametrize("side", [(96, 400), (400, 96), (97, 97)])
def test_every_edit_takes_narrow_and_odd_pictures(side: tuple[int, int]) -> None:
    picture = painted(8, side)
    assert all(edit.apply(picture, rng(3), PARTNERS) for edit in EDITS)


def test_a_third_of_the_kinds_of_each_stratum_is_unseen() -> None:
    for stratum in STRATA:
        kinds = [edit for edit in EDITS if edit.stratum == stratum]
        assert len(kinds) == 3 * sum(edit.unseen for edit in kinds)


def test_every_kind_is_listed_in_the_docs_with_its_stratum_and_whether_it_is_unseen() -> None:
    rows = re.findall(r"^\| (light|medium|heavy) \| (.+?) \| (.+?) \|$", DOCS.read_text(), re.M)
    listed = {(stratum, name): "seen" for stratum, names, _ in rows for name in names.split("; ")}
    listed |= {(stratum, name): "unseen" for stratum, _, names in rows for name in names.split("; ")}
    assert listed == {(edit.stratum, edit.name): "unseen" if edit.unseen else "seen" for edit in EDITS}


def test_an_edit_that_needs_another_picture_says_so() -> None:
    with pytest.raises(ValueError, match="give it partners"):
        KINDS["ghost"].apply(painted(1), rng())


def test_a_picture_turned_by_its_tag_is_shown_upright() -> None:
    picture = painted(3, (120, 80))
    shown = decode(KINDS["turned by tag"].apply(picture, rng()), DecodeLimits()).pixels
    assert shown.shape == (80, 120, 3)
    assert np.abs(shown.astype(int) - np.asarray(picture)).mean() < 3


def test_a_crop_has_the_share_of_the_area_and_the_aspect_ratio() -> None:
    assert cropped(plain((1, 2, 3), (200, 100)), 0.25, rng()).size == (100, 50)


def test_a_part_that_shows_nothing_is_drawn_again() -> None:
    sky = plain((90, 140, 220), (200, 200))
    sky.paste(painted(1, (40, 40)), (150, 150))
    assert nearly_blank(sky.crop((0, 0, 100, 100)))
    assert not any(nearly_blank(part_of(sky, 0.25, rng(seed))) for seed in range(20))
    assert part_of(plain((9, 9, 9), (200, 100)), 0.25, rng()).size == (100, 50)


def test_a_picture_is_padded_to_a_square_and_a_square_between_bars() -> None:
    assert padded(plain((9, 9, 9), (40, 30)), (0, 0, 0)).size == (40, 40)
    assert padded(plain((9, 9, 9), (40, 40)), (0, 0, 0)).size == (40, 60)


def test_squashing_changes_one_side_only() -> None:
    assert squashed(plain((1, 2, 3), (100, 80)), 0.5, rng()).size in {(50, 80), (100, 40)}


def test_a_cast_multiplies_channels_and_stops_at_white() -> None:
    assert cast(plain((100, 100, 200)), (1.5, 1.0, 2.0)).getpixel((0, 0)) == (150, 100, 255)


def test_a_vignette_darkens_the_corners_and_not_the_middle() -> None:
    shaded = np.asarray(vignetted(plain((200, 200, 200), (101, 101)), 0.5))[..., 0]
    assert shaded[50, 50] >= 198
    assert shaded[0, 0] < 130


def test_pixelising_leaves_as_many_cells_along_the_longer_side_as_asked() -> None:
    cells = np.asarray(pixelised(painted(5, (120, 60)), 4))[0, :, 0]
    assert len(np.unique(cells)) <= 4
    assert (np.diff(cells.reshape(4, 30).astype(int), axis=1) == 0).all()


def test_stripes_cover_the_share_asked_for() -> None:
    black = np.asarray(striped(plain((0, 0, 0), (400, 300)), 0.25, rng(1))).max(axis=2)
    assert (black > 0).mean() == pytest.approx(0.25, abs=0.04)


def test_a_picture_placed_on_its_own_corners_is_the_picture() -> None:
    picture = painted(6, (50, 40))
    corners = np.array([(0, 0), (50, 0), (50, 40), (0, 40)], np.float64)
    there = np.asarray(placed_on(plain((0, 0, 0), (50, 40)), picture, corners)).astype(int)
    assert np.abs(there - np.asarray(picture))[1:-1, 1:-1].max() <= 1


def test_a_lens_without_strength_bends_nothing_and_one_with_strength_keeps_the_middle() -> None:
    picture = painted(6, (64, 64))
    straight = np.asarray(through_lens(picture, 0.0)).astype(int)
    assert np.abs(straight - np.asarray(picture))[2:-2, 2:-2].max() <= 3
    bent = np.asarray(through_lens(picture, 0.3)).astype(int)
    assert np.abs(bent - np.asarray(picture))[2:-2, 2:-2].mean() > 1


def test_a_picture_laid_into_another_covers_its_share() -> None:
    both = np.asarray(laid_into(plain((255, 0, 0), (100, 80)), plain((0, 0, 255)), 0.36, rng()))
    assert (both[..., 0] > 128).mean() == pytest.approx(0.36, abs=0.01)


def test_half_a_picture_stays_when_half_is_covered() -> None:
    for seed in range(6):
        both = np.asarray(half_covered(plain((255, 0, 0), (100, 80)), plain((0, 0, 255)), rng(seed)))
        assert (both[..., 0] > 128).mean() == 0.5


def test_a_collage_of_four_holds_all_four() -> None:
    three = [plain(colour) for colour in ((0, 255, 0), (0, 0, 255), (255, 255, 0))]
    sheet = collage_of_four(plain((255, 0, 0)), three, rng())
    corners = {sheet.getpixel((x, y)) for x in (2, sheet.width - 3) for y in (2, sheet.height - 3)}
    assert corners == {(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)}


@pytest.mark.parametrize(("size", "cropped_to"), [((800, 500), (560, 420)), ((500, 900), (420, 560))])
def test_the_six_pictures_of_imagededup_s_protocol(size: tuple[int, int], cropped_to: tuple[int, int]) -> None:
    original = as_their_originals(painted(4, size))
    six = transformed(original, rng())
    assert len(six) == GROUP
    assert sorted(original.size) == [480, 640]
    assert [picture.size for picture in six] == [
        original.size, cropped_to, original.size, original.size, original.size, (480, 480),
    ]  # fmt: skip
    assert six[2].getpixel((0, 0)) == original.getpixel((original.width - 1, 0))
    assert six[3].getpixel((0, 0)) == original.getpixel((0, original.height - 1))
    assert six[4].getpixel((0, 0)) == (0, 0, 0)
