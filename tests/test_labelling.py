"""Which pairs are one picture is told by everything but the score that is calibrated."""

from dataclasses import replace

import numpy as np
import pytest

from search.calibration.evidence import NO_STRATUM
from search.calibration.labelling import (
    NEAR_BITS,
    Asked,
    Known,
    alike,
    evidence_of,
    hard_pairs,
    verified_precision,
)
from search.geometry.verification import Answer
from search.records import ImageRecord, Said

IMAGE = ImageRecord(1, "k", "file:///a", 9, 9, 9, "png", b"s" * 32, b"p" * 16, 50.0, 1)
OTHER = replace(IMAGE, id=2, sha256=b"t" * 32, pixel_hash=b"q" * 16)


def asked(source: int, own: float | None, **found: float) -> Asked:
    ids = np.array([int(name[1:]) for name in found], np.int64)
    return Asked(source, NO_STRATUM if own is None else 0, own, ids, np.array(list(found.values()), np.float32))


@pytest.mark.parametrize(
    ("said", "near", "answer", "same"),
    [
        (None, False, "yes", True),
        (None, False, "no", False),
        (None, False, "cannot", None),
        (None, False, None, None),
        (None, True, "no", True),
        ("different", True, "yes", False),
        ("same", False, "no", True),
        ("same", False, None, True),
    ],
)
def test_people_are_right_and_cannot_is_no_answer(
    said: Said | None, near: bool, answer: Answer | None, same: bool | None
) -> None:
    assert Known(said, near, answer).same is same


def test_the_same_bytes_or_pixels_are_alike() -> None:
    assert alike(IMAGE, replace(OTHER, sha256=IMAGE.sha256), {})
    assert alike(IMAGE, replace(OTHER, pixel_hash=IMAGE.pixel_hash), {})
    assert not alike(IMAGE, OTHER, {})


@pytest.mark.parametrize(("bits", "near"), [(NEAR_BITS, True), (NEAR_BITS + 1, False)])
def test_so_are_perceptual_hashes_that_differ_in_a_tenth_of_their_bits(bits: int, near: bool) -> None:
    first = (1 << 200) - 1
    hashes = {1: first.to_bytes(32, "big"), 2: (first ^ ((1 << bits) - 1)).to_bytes(32, "big")}
    assert alike(IMAGE, OTHER, hashes) is near


def test_pictures_that_nobody_has_seen_are_not_alike() -> None:
    assert not alike(IMAGE, OTHER, {1: bytes(32), 2: bytes(32)})


def test_the_pairs_that_score_highest_are_labelled_and_no_other_reaches_the_floor() -> None:
    found = hard_pairs([asked(1, None, i7=0.9, i8=0.5), asked(1, 0.8, i8=0.7), asked(2, None, i7=0.6)], 2)
    assert found.others == {1: [7, 8]}
    assert np.float32(0.6) < np.float32(found.floor) < 0.7


def test_where_all_are_labelled_there_is_no_floor() -> None:
    assert hard_pairs([asked(1, None, i7=0.9)], 5).floor == -1


def test_every_label_has_its_place_in_the_evidence() -> None:
    queries = [asked(1, None, i7=0.9, i8=0.5, i9=0.4), asked(1, 0.8, i7=0.85, i8=0.3, i9=0.2)]
    known = {
        (1, 7): Known(None, alike=True),
        (1, 8): Known(None, alike=False, answer="no"),
        (1, 9): Known(None, alike=False, answer="cannot"),
    }
    found = evidence_of(queries, known, -1.0)
    told = sorted(zip(found.scores.round(2).tolist(), found.right.tolist(), found.strata.tolist(), strict=True))
    # The copy that the collection holds counts once, the edited copy of it has its own answer, what nobody could tell
    # is left out of both.
    expected = [(0.3, False, NO_STRATUM), (0.5, False, NO_STRATUM), (0.8, True, 0), (0.9, True, NO_STRATUM)]
    assert np.allclose([row[0] for row in told], [row[0] for row in expected])
    assert [row[1:] for row in told] == [row[1:] for row in expected]
    assert (found.queries, found.edited) == (2, 1)
    # What could not be told apart is a hit of an absent picture all the same; a copy of it is not.
    assert np.allclose(found.decoys, [0.3, 0.2])


def test_verification_without_a_mistake_is_as_precise_as_so_many_copies_show() -> None:
    found = verified_precision(found=300, copies=300, mistaken=0, images=300, prevalence=1.0)
    assert found == pytest.approx(0.05 ** (1 / 300))
    worse = verified_precision(found=300, copies=300, mistaken=3, images=300, prevalence=1.0)
    assert worse is not None
    assert worse < 0.98
    assert verified_precision(0, 300, 0, 300, 0.5) is None
