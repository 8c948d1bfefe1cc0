"""What was done to an indexed picture: each edit is made here, and must be told, with its amount and nothing else."""

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

from search.geometry.edits import sentence
from search.geometry.explanation import LINES, PANEL, as_png, draw, explain
from search.geometry.keypoints import extract
from search.geometry.pixel_edits import PictureFile, blur_between, edits_between
from search.geometry.verification import Verification
from search.geometry.verify import prepare, verify
from search.records import Edit
from tests.drawn_pictures import Pixels, compressed, embedded, indexed, resized, textured, turned

ORIGINAL = textured(1)


def faint() -> Pixels:
    """Return the original with so little contrast that a black bar is most of what there is to see."""
    return ORIGINAL // 4 + np.uint8(150)


def told(query: Pixels, candidate: Pixels = ORIGINAL, query_format: str = "PNG") -> dict[str, float | None]:
    """Return the amounts of the edits that made the query, by their kinds."""
    found = verify(prepare(query), indexed(1) if candidate is ORIGINAL else extract(candidate))
    assert found.answer == "yes"
    files = PictureFile(query, query_format, "q"), PictureFile(candidate, "PNG", "c")
    edits = edits_between(found, *files)
    with ThreadPoolExecutor(1) as beside:
        assert edits_between(found, *files, beside.submit(blur_between, found, *files)) == edits
    return {edit.kind: edit.amount for edit in edits}


def test_the_same_file_was_not_edited() -> None:
    found = verify(prepare(ORIGINAL), indexed(1))
    assert edits_between(found, PictureFile(ORIGINAL, "PNG", "same"), PictureFile(ORIGINAL, "PNG", "same")) == []


def test_the_same_pixels_in_another_file_were_saved_again() -> None:
    assert told(ORIGINAL) == {"resaved": None}
    assert told(ORIGINAL, query_format="WEBP") == {"converted": None}


def test_a_crop_tells_the_share_still_visible() -> None:
    assert told(ORIGINAL[30:255, 40:340]) == {"cropped": pytest.approx(225 * 300 / (300 * 400), abs=0.01)}


def test_what_was_cropped_depends_on_which_of_the_two_is_indexed() -> None:
    assert told(ORIGINAL, ORIGINAL[30:255, 40:340]) == {"framed": pytest.approx(0.5625, abs=0.01)}


def test_a_picture_put_into_a_larger_one_tells_its_share() -> None:
    edits = told(embedded(resized(ORIGINAL, 200, 150), textured(2), 120, 60))
    assert edits == {"framed": pytest.approx(0.25, abs=0.01), "scaled": pytest.approx(0.5, abs=0.01)}


@pytest.mark.parametrize("factor", [0.25, 0.5, 2.0])
def test_a_resized_picture_tells_the_factor(factor: float) -> None:
    size = (round(400 * factor), round(300 * factor))
    scaled = np.asarray(cv2.resize(ORIGINAL, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC))
    assert told(scaled) == {"scaled": pytest.approx(factor, rel=0.02)}


@pytest.mark.parametrize(("quarters", "degrees"), [(1, 90), (2, 180), (3, -90)])
def test_quarter_turns_are_told_exactly(quarters: int, degrees: float) -> None:
    assert told(turned(ORIGINAL, quarters)) == {"rotated": degrees}


def test_another_turn_is_told_to_half_a_degree() -> None:
    matrix = cv2.getRotationMatrix2D((200, 150), -20, 1)  # OpenCV turns against the clock
    edits = told(np.asarray(cv2.warpAffine(ORIGINAL, matrix, (400, 300)), np.uint8))
    assert edits["rotated"] == pytest.approx(20, abs=0.5)
    assert set(edits) == {"rotated", "cropped", "framed"}


def test_a_mirror_image_is_told_alone_or_turned() -> None:
    assert told(np.ascontiguousarray(ORIGINAL[:, ::-1])) == {"mirrored": None}
    assert told(np.ascontiguousarray(ORIGINAL[::-1])) == {"mirrored": None, "rotated": 180}


def test_a_squashed_picture_tells_how_wide_it_is_for_its_height() -> None:
    edits = told(resized(ORIGINAL, 300, 300))
    assert edits["stretched"] == pytest.approx(0.75, abs=0.01)


def test_a_photograph_of_the_picture_from_the_side_is_tilted() -> None:
    corners = np.array(((0, 0), (400, 30), (400, 270), (0, 300)), np.float32)
    frame = np.array(((0, 0), (400, 0), (400, 300), (0, 300)), np.float32)
    tilted = cv2.warpPerspective(ORIGINAL, cv2.getPerspectiveTransform(frame, corners), (400, 300))
    assert told(np.asarray(tilted, np.uint8))["tilted"] == pytest.approx(1.4, abs=0.1)


def test_compressing_again_is_told_where_nothing_else_changed() -> None:
    assert told(compressed(ORIGINAL, 40)) == {"recompressed": None}
    assert told(compressed(ORIGINAL, 40), query_format="JPEG") == {"converted": None, "recompressed": None}


def test_colours_that_went_or_changed_are_told() -> None:
    grey = cv2.cvtColor(cv2.cvtColor(ORIGINAL, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    assert told(np.asarray(grey, np.uint8)) == {"grey": None}
    assert "recoloured" in told(np.ascontiguousarray(ORIGINAL[..., ::-1]))


def test_more_light_is_told_as_a_share_of_the_range() -> None:
    dark = (ORIGINAL * 0.5).astype(np.uint8)
    assert told(dark + np.uint8(51), dark) == {"brightened": pytest.approx(0.2, abs=0.01)}
    assert told(dark, dark + np.uint8(51)) == {"darkened": pytest.approx(0.2, abs=0.01)}


@pytest.mark.parametrize("sigma", [1.5, 2.5, 6.0, 10.0])
def test_blur_is_told_with_its_radius_and_is_no_cover(sigma: float) -> None:
    assert told(np.asarray(cv2.GaussianBlur(ORIGINAL, (0, 0), sigma), np.uint8)) == {
        "blurred": pytest.approx(sigma, rel=0.1)
    }


def test_the_blur_of_a_smaller_copy_is_told_in_pixels_of_that_copy() -> None:
    small = resized(np.asarray(cv2.GaussianBlur(ORIGINAL, (0, 0), 6), np.uint8), 200, 150)
    assert told(small) == {"scaled": pytest.approx(0.5, rel=0.02), "blurred": pytest.approx(3, rel=0.15)}


def test_what_was_laid_over_is_told_of_a_blurred_picture_too() -> None:
    covered = embedded(textured(2, 200, 120), ORIGINAL, 100, 100)
    edits = told(np.asarray(cv2.GaussianBlur(covered, (0, 0), 3), np.uint8))
    assert edits == {"covered": pytest.approx(0.2, abs=0.06), "blurred": pytest.approx(3, rel=0.3)}


def test_a_black_bar_over_the_end_of_a_picture_is_no_blur() -> None:
    barred = faint()
    barred[246:] = 0
    assert told(compressed(barred, 95), faint()) == {"covered": pytest.approx(54 / 300, abs=0.04)}


def test_the_blur_beside_a_black_bar_is_that_of_what_can_be_seen() -> None:
    barred = np.asarray(cv2.GaussianBlur(faint(), (0, 0), 2), np.uint8)
    barred[246:] = 0
    assert told(barred, faint()) == {
        "covered": pytest.approx(54 / 300, abs=0.04),
        "blurred": pytest.approx(2, abs=0.2),
    }


def test_lights_that_were_clipped_are_no_cover() -> None:
    light = ORIGINAL // 3 + np.uint8(120)
    light[50:150, 100:300] = ORIGINAL[50:150, 100:300] // 8 + np.uint8(215)
    assert set(told(np.clip(light * 1.25, 0, 255).astype(np.uint8), light)) == {"brightened"}


def test_what_was_laid_over_is_told_with_its_share() -> None:
    covered = embedded(textured(2, 200, 120), ORIGINAL, 100, 100)
    assert told(covered) == {"covered": pytest.approx(200 * 120 / (400 * 300), abs=0.06)}


def test_several_edits_are_told_together() -> None:
    crop = ORIGINAL[:, ::-1][75:300, 0:300]
    edits = told(compressed(resized(crop, 150, 112), 40), query_format="JPEG")
    assert edits == {
        "mirrored": None,
        "cropped": pytest.approx(0.5625, abs=0.01),
        "scaled": pytest.approx(0.5, abs=0.01),
        "converted": None,
        "recompressed": None,
    }


def test_edits_have_sentences() -> None:
    assert sentence(Edit("cropped", 0.62)) == "cropped to 62 % of its area"
    assert sentence(Edit("rotated", 90.0)) == "rotated 90° clockwise"
    assert sentence(Edit("rotated", -12.5)) == "rotated 12.5° anticlockwise"
    assert sentence(Edit("mirrored")) == "mirrored"


def test_an_explanation_is_the_facts_as_plain_numbers() -> None:
    found = verify(prepare(ORIGINAL[30:255, 40:340]), indexed(1))
    facts = explain(found, [Edit("cropped", 0.5625)])
    np.testing.assert_allclose(facts["quad"], ((40, 30), (340, 30), (340, 255), (40, 255)), atol=1)
    assert facts["visible"] == pytest.approx(0.5625, abs=0.01)
    assert facts["edits"] == [{"kind": "cropped", "amount": 0.5625}]
    assert facts["sentences"] == ["cropped to 56 % of its area"]
    assert 0 < len(facts["points"]) <= LINES
    for x, y, there_x, there_y in facts["points"]:
        assert (there_x, there_y) == pytest.approx((x + 40, y + 30), abs=6)


def test_an_explanation_without_a_model_says_why() -> None:
    blank = np.full((300, 400, 3), 90, np.uint8)
    found = verify(prepare(blank), indexed(1))
    facts = explain(found, [])
    assert (facts["answer"], facts["model"], facts["quad"], facts["points"]) == ("cannot", None, [], [])
    assert facts["reason"] == found.reason
    assert draw(found, blank, ORIGINAL).shape[1] < 2 * PANEL + 60


def drawn(found: Verification, query: Pixels) -> Pixels:
    picture = draw(found, query, ORIGINAL)
    assert picture.dtype == np.uint8
    assert picture.shape[0] < PANEL + 60
    assert picture.shape[1] < 3 * PANEL + 100
    return picture


def test_the_picture_of_an_answer_glows_only_where_the_two_differ() -> None:
    covered = embedded(textured(2, 160, 120), ORIGINAL, 20, 160)
    same, differs = (drawn(verify(prepare(one), indexed(1)), one) for one in (ORIGINAL, covered))

    def glow(picture: Pixels) -> float:
        last_panel = picture[:, -PANEL:].astype(np.int64)
        return float((last_panel.max(axis=2) - last_panel.min(axis=2) > 60).mean())

    assert glow(same) == 0
    assert glow(differs) > 0.08
    decoded = cv2.cvtColor(cv2.imdecode(np.frombuffer(as_png(differs), np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    np.testing.assert_array_equal(decoded, differs)
