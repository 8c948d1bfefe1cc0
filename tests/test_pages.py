"""Pages of one form differ in letters alone, which keypoints do not see; a page that was edited is still that page."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from search.geometry import verification as answers
from search.geometry.keypoints import Keypoints, extract
from search.geometry.pages import page_by_page
from search.geometry.pixel_edits import PictureFile
from search.geometry.verification import Verification
from search.geometry.verify import prepared, verify
from tests.drawn_forms import FORMS, invoice, letter, slide
from tests.drawn_pictures import Pixels, compressed, embedded, resized, textured, turned


def compared(query: Pixels, candidate: Pixels) -> tuple[Verification, Verification]:
    """Return what keypoints say of two pictures, and what their files say after that."""
    one, other = extract(query), extract(candidate)
    found = verify(prepared(one), other)
    told = page_by_page(found, one, other, lambda: as_file(query, "one"), lambda: as_file(candidate, "other"))
    assert told is not None
    return found, told


def as_file(pixels: Pixels, name: str) -> PictureFile:
    return PictureFile(pixels, "PNG", name)


@pytest.mark.parametrize("form", FORMS)
def test_another_page_of_the_same_form_is_no_copy_though_keypoints_take_it_for_one(form: str) -> None:
    found, told = compared(FORMS[form](1), FORMS[form](2))
    assert found.answer == "yes", "else there is nothing to tell apart"
    assert (told.answer, told.reason) == ("no", answers.ANOTHER_PAGE)


def test_another_page_saved_blurred_and_turned_is_still_another() -> None:
    blurred = compressed(np.asarray(cv2.GaussianBlur(letter(2), (0, 0), 1), np.uint8), 60)
    for query in (blurred, turned(letter(2), 1), np.ascontiguousarray(letter(2)[:, ::-1])):
        found, told = compared(query, letter(1))
        assert (found.answer, told.answer, told.reason) == ("yes", "no", answers.ANOTHER_PAGE)


def tilted(page: Pixels) -> Pixels:
    height, width = page.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), 3, 0.95)
    return np.asarray(cv2.warpAffine(page, turn, (width, height), borderValue=(128, 128, 128)), np.uint8)


def noisy(page: Pixels) -> Pixels:
    noise = np.random.default_rng(1).normal(0, 15, page.shape)
    return np.asarray(np.clip(page + noise, 0, 255), np.uint8)


def stamped(page: Pixels) -> Pixels:
    edited = page.copy()
    height, width = page.shape[:2]
    cv2.rectangle(edited, (width // 3, height // 2), (width * 3 // 4, height * 3 // 5), (200, 0, 0), 5)
    cv2.putText(edited, "PAID", (width // 3 + 10, height * 4 // 7), cv2.FONT_HERSHEY_SIMPLEX, 2, (200, 0, 0), 5)
    return edited


def captioned(page: Pixels) -> Pixels:
    edited = page.copy()
    edited[page.shape[0] * 9 // 10 :] = 0
    cv2.putText(edited, "a caption", (20, page.shape[0] - 15), cv2.FONT_HERSHEY_SIMPLEX, 1.5, (255, 255, 255), 3)
    return edited


EDITS: dict[str, Callable[[Pixels], Pixels]] = {
    "saved": lambda page: compressed(page, 10),
    "half": lambda page: resized(page, page.shape[1] // 2, page.shape[0] // 2),
    "third": lambda page: compressed(resized(page, page.shape[1] // 3, page.shape[0] // 3), 40),
    "enlarged": lambda page: np.asarray(cv2.resize(page, None, fx=1.5, fy=1.5), np.uint8),
    "blurred": lambda page: np.asarray(cv2.GaussianBlur(page, (0, 0), 3), np.uint8),
    "dark": lambda page: np.asarray(page * 0.5, np.uint8),
    "flat": lambda page: np.asarray(128 + (page - 128.0) * 0.4, np.uint8),
    "noisy": noisy,
    "mirrored": lambda page: np.ascontiguousarray(page[:, ::-1]),
    "turned": lambda page: turned(page, 1),
    "cropped": lambda page: np.ascontiguousarray(page[40:-60, 50:-30]),
    "tilted": tilted,
    "stamped": stamped,
    "captioned": captioned,
}


@pytest.mark.parametrize("edit", EDITS)
def test_the_same_page_stays_a_copy_whatever_was_done_to_it(edit: str) -> None:
    for form in (invoice, slide):
        found, told = compared(EDITS[edit](form(1)), form(1))
        assert (found.answer, told.answer) == ("yes", "yes")


def test_what_is_drawn_over_half_of_a_white_page_and_is_no_page_stays_a_copy() -> None:
    page = np.full((700, 520, 3), 255, np.uint8)
    shown = embedded(textured(3, 400, 300), page, 60, 100)
    assert compared(compressed(shown, 30), shown)[1].answer == "yes"


def none_is_read() -> PictureFile | None:
    raise AssertionError("a file was read")


def test_no_file_is_read_of_photographs_nor_where_the_answer_is_no() -> None:
    photograph, page, other = extract(textured(1)), extract(invoice(1)), extract(slide(1))
    for query, candidate, answer in ((photograph, photograph, "yes"), (page, other, "no")):
        found = verify(prepared(query), candidate)
        assert found.answer == answer
        assert page_by_page(found, query, candidate, none_is_read, none_is_read) is found


@pytest.mark.parametrize("gone", [0, 1])
def test_where_a_file_cannot_be_read_nobody_can_tell(gone: int) -> None:
    one: Keypoints = extract(invoice(1))
    other = extract(invoice(2))
    files = [lambda: as_file(invoice(1), "one"), lambda: as_file(invoice(2), "other")]
    files[gone] = lambda: None  # type: ignore[assignment, return-value]
    assert page_by_page(verify(prepared(one), other), one, other, files[0], files[1]) is None
