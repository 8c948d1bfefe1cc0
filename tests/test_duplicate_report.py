"""The report of a dedup job: a page inside one file, and tables of all groups."""

import base64
import csv
import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from html.parser import HTMLParser
from itertools import product
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from api.console import size_text
from api.duplicate_report import page as page_module
from api.duplicate_report.histogram import histogram
from api.duplicate_report.page import ReportFacts, page_of
from api.duplicate_report.pictures import Pixels, StoredGroupPictures
from api.duplicate_report.rows import COLUMNS
from api.duplicate_report.writing import write_report
from search.duplicates.groups import DuplicateGroup, DuplicateMember, SimilarShots
from search.duplicates.report import DuplicateReport
from search.errors import UsageError
from search.geometry.explanation import difference
from search.geometry.keypoints import Keypoints, extract
from search.geometry.pixel_edits import PictureFile
from search.geometry.verify import prepare, verify
from search.records import Edit, ImageRecord
from tests.drawn_pictures import textured
from tests.duplicate_groups import HOSTILE, DrawnGroupPictures, image_named, member, pairs

FACTS = ReportFacts("default", 500, 0.8, "none", "1 March 2026")
GROUPS = (
    DuplicateGroup(
        image_named(1),
        "most pixels",
        (member(2, "same_pixels"), member(3, "cropped", 0.93), member(4, "near", 0.81, "räksmörgås, 4.jpg")),
    ),
    *pairs(2),
)


def written(groups: Sequence[DuplicateGroup], **limits: int) -> str:
    return "".join(page_of(FACTS, groups, DrawnGroupPictures(), **limits))


def report(groups: Sequence[DuplicateGroup], folder: Path) -> Path:
    return write_report(DuplicateReport(500, 0.8, tuple(groups)), "default", "none", DrawnGroupPictures(), folder)


class Tags(HTMLParser):
    """Every tag of a page with its attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attributes)))


def test_a_file_that_several_images_share_is_counted_once_and_not_where_the_keeper_needs_it() -> None:
    """Pictures of the same bytes that were sent under several keys are one file of the store."""
    keeper, copy = image_named(1), member(2, "same_bytes")
    shared = replace(copy, image=replace(copy.image, uri=keeper.uri))
    group = DuplicateGroup(keeper, "first", (shared, copy, copy))
    found, other = DuplicateReport(4, 0.8, (group,)), DuplicateGroup(keeper, "first", (shared,))
    assert found.bytes_reclaimable == group.bytes_reclaimable == copy.image.size_bytes
    assert other.bytes_reclaimable == 0
    page = written([group, other])
    freed = size_text(copy.image.size_bytes)
    assert (page.count(f"<dd>{freed}</dd>"), page.count(f"{freed} would"), page.count("0 B would")) == (1, 1, 1)


def test_all_tables_hold_the_same_rows(tmp_path: Path) -> None:
    report(GROUPS, tmp_path)
    with (tmp_path / "groups.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    typed = pq.read_table(tmp_path / "groups.parquet").to_pylist()
    told = json.loads((tmp_path / "groups.json").read_text())
    assert [row["id"] for row in rows] == ["1", "2", "3", "4", "100", "101", "102", "103"]
    assert [{name: "" if one is None else str(one) for name, one in row.items()} for row in typed] == rows
    assert tuple(rows[0]) == COLUMNS
    third = typed[2]
    assert (third["group"], third["role"], third["keeper_id"], third["kind"]) == (1, "member", 1, "cropped")
    assert json.loads(third["edits"])[0] == {"kind": "cropped", "amount": 0.5}
    assert (told["groups_total"], told["threshold_source"], told["bytes_reclaimable"]) == (3, "none", 213_000)
    named = [image for group in told["groups"] for image in (group["keeper"], *group["members"])]
    assert [image["sha256"] for image in named] == [row["sha256"] for row in rows]


def test_a_job_without_groups_has_a_report_too(tmp_path: Path) -> None:
    page = report([], tmp_path).read_text()
    assert "<h1>No duplicates</h1>" in page
    assert json.loads((tmp_path / "groups.json").read_text())["groups"] == []
    assert pq.read_table(tmp_path / "groups.parquet").num_rows == 0


def test_the_page_of_a_large_job_holds_the_first_groups_and_says_so(tmp_path: Path) -> None:
    page = written(pairs(5), shown=3)
    assert page.count("<section") == 3
    assert "The first 3 of 5 groups are shown here." in page
    report(pairs(5), tmp_path)
    assert pq.read_table(tmp_path / "groups.parquet").num_rows == 10


def test_pictures_end_where_the_page_would_grow_too_large() -> None:
    pictures = DrawnGroupPictures()
    page = "".join(page_of(FACTS, pairs(20), pictures, picture_bytes=100_000))
    assert page.count("<section") == 20
    assert 0 < page.count("data:image/jpeg") < 20
    assert len(page) < 100_000 * 4 / 3 + 80_000
    assert "The last groups are without pictures" in page
    assert pictures.asked < 40, "what is not shown is not made"


def test_similar_shots_are_named_beside_the_groups_and_are_none(tmp_path: Path) -> None:
    shots = SimilarShots("burst", (image_named(7), image_named(8)), 0.91)
    found = DuplicateReport(500, 0.8, GROUPS, similar=(shots,))
    page = write_report(found, "default", "none", DrawnGroupPictures(), tmp_path).read_text()
    assert "1 set of similar shots is not among the duplicates" in page
    (told,) = json.loads((tmp_path / "groups.json").read_text())["similar"]
    assert (told["kind"], [image["id"] for image in told["images"]]) == ("burst", ["7", "8"])
    assert pq.read_table(tmp_path / "groups.parquet").num_rows == 8


def test_a_group_with_many_members_shows_the_first_and_says_where_all_are() -> None:
    many = tuple(member(number, "near") for number in range(10, 60))
    page = written([DuplicateGroup(image_named(1), "most pixels", many)])
    assert page.count('<li class="tile member"') == page_module.SHOWN_MEMBERS
    assert f"the first {page_module.SHOWN_MEMBERS} are shown; all are in groups.csv" in page


def test_names_are_text_whatever_they_contain() -> None:
    keeper, copy = image_named(1, HOSTILE), member(2, "near", name=HOSTILE)
    page = written([DuplicateGroup(keeper, "<b>most pixels</b>", (copy,))])
    tags = Tags(page).found
    assert not [tag for tag, attributes in tags if "onerror" in attributes]
    assert "&lt;b&gt;most pixels" in page
    (named,) = [attributes["data-name"] for _, attributes in tags if "data-name" in attributes]
    assert named == HOSTILE


def test_the_page_runs_and_styles_by_nothing_but_what_its_policy_names() -> None:
    page = written(GROUPS)
    tags = Tags(page).found
    (policy,) = [str(one["content"]) for _, one in tags if one.get("http-equiv") == "Content-Security-Policy"]
    for tag in ("script", "style"):
        (inside,) = re.findall(rf"<{tag}[^>]*>(.*?)</{tag}>", page, re.S)
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    for _, attributes in tags:
        assert not [name for name in attributes if name.startswith("on") or name == "style"]
        assert not re.match(r"(https?:)?//", str(attributes.get("src") or attributes.get("href") or ""))
    assert "\nimport " not in page
    assert "\nexport " not in page


def test_copies_of_the_same_bytes_are_not_asked_about() -> None:
    same = DuplicateMember(image_named(2, content="1"), 1.0, "identical", "same_bytes")
    page = written([DuplicateGroup(image_named(1), "shortest path", (same, member(3, "near")))])
    asked = [one for tag, one in Tags(page).found if "data-first" in one]
    assert [one["data-second"] for one in asked] == [image_named(3).sha256.hex()]


def test_the_histogram_counts_near_copies_alone() -> None:
    scores = (0.815, 0.825, 0.826, 0.995, 1.0)
    near = tuple(member(10 + place, "near", score) for place, score in enumerate(scores))
    drawing = histogram([DuplicateGroup(image_named(1), "", (member(2, "same_pixels"), *near))], 0.8)
    counts = re.findall(r"<title>([\d.]+) to ([\d.]+): (\d+)</title>", drawing)
    assert counts == [("0.81", "0.82", "1"), ("0.82", "0.83", "2"), ("0.99", "1.00", "2")]
    assert "threshold 0.80" in drawing
    assert histogram([DuplicateGroup(image_named(1), "", (member(2, "same_bytes"),))], 0.8) == ""


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(UsageError, match=r"cannot write in .*/taken: .*; choose another folder for -o"):
        report(GROUPS, tmp_path / "taken")


def test_a_report_that_fails_half_way_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = report(GROUPS, tmp_path).read_text()

    def broken(_self: DrawnGroupPictures, _member: DuplicateMember) -> tuple[bytes | None, bytes | None]:
        raise RuntimeError("the power went")

    monkeypatch.setattr(DrawnGroupPictures, "member", broken)
    with pytest.raises(RuntimeError):
        report(GROUPS[:1], tmp_path)
    assert (tmp_path / "report.html").read_text() == before
    assert {path.name for path in tmp_path.iterdir()} == {
        "report.html", "groups.csv", "groups.json", "groups.parquet",
    }  # fmt: skip


class Files:
    """Stored pictures by the id of their image."""

    def __init__(self, pixels: dict[int, Pixels]) -> None:
        self._pixels = pixels
        self.keypoints_of: list[int] = []

    def file(self, image: ImageRecord) -> PictureFile | None:
        pixels = self._pixels.get(image.id)
        return None if pixels is None else PictureFile(pixels, "JPEG", image.sha256.hex())

    def keypoints(self, images: Sequence[ImageRecord]) -> Iterator[Keypoints | None]:
        for image in images:
            self.keypoints_of.append(image.id)
            yield extract(self._pixels[image.id])


def covered(picture: Pixels) -> Pixels:
    """Return a picture with a grey square of 80 x 80 at (40, 160)."""
    changed = picture.copy()
    changed[160:240, 40:120] = 128
    return changed


def glow(picture: Pixels) -> Pixels:
    """Return how colourful each pixel is: what is pale grey is the same in both."""
    return np.asarray(picture.max(axis=2).astype(int) - picture.min(axis=2), np.int64)


@pytest.mark.parametrize(("mirrored", "half"), list(product([False, True], [False, True])))
def test_the_difference_glows_where_a_copy_shows_something_else(mirrored: bool, half: bool) -> None:
    keeper = textured(1)
    copy = covered(keeper)[:, :: -1 if mirrored else 1]
    copy = np.ascontiguousarray(copy[::2, ::2] if half else copy)
    found = verify(prepare(copy), extract(keeper)) if mirrored else None
    shown = glow(difference(copy, keeper, found))
    scale = shown.shape[1] / keeper.shape[1]
    inside = shown[int(175 * scale) : int(225 * scale), int(55 * scale) : int(105 * scale)]
    outside = shown[int(20 * scale) : int(120 * scale), int(180 * scale) : int(380 * scale)]
    assert inside.mean() > 60
    assert outside.mean() < 12


def test_only_copies_that_may_lie_elsewhere_are_laid_over_their_keeper_by_keypoints() -> None:
    keeper = image_named(1)
    files = Files({1: textured(1), 2: covered(textured(1)), 3: np.ascontiguousarray(textured(1)[:, ::-1])})
    pictures = StoredGroupPictures(files)
    assert pictures.keeper(keeper) is not None
    still = DuplicateMember(image_named(2), 0.9, "probable", "edited", "yes", (Edit("covered", 0.05),))
    assert None not in pictures.member(still)
    assert files.keypoints_of == []
    turned = DuplicateMember(image_named(3), 0.9, "same_picture", "turned", "yes", (Edit("mirrored"),))
    assert None not in pictures.member(turned)
    assert files.keypoints_of == [3, 1]
    exact = DuplicateMember(image_named(3), 1.0, "identical", "same_pixels")
    assert pictures.member(exact)[1] is None
    gone = DuplicateMember(image_named(4), 0.9, "probable", "near")
    assert pictures.member(gone) == (None, None)
