"""The browse view: facets, the timeline and a written condition narrow the collection, and the address says how."""

import re
from collections.abc import Iterator
from urllib.parse import parse_qs

import pytest
from PIL import Image
from playwright.sync_api import BrowserContext, Page, expect

from api.cli import main
from api.http.access import OpenGate
from api.workspace import Workspace
from tests.journeys.page.conftest import serving
from tests.web_page import Watch, drawing, picture_of, tiles

HOLIDAYS, GARDEN, SHARED = 14, 6, 4


@pytest.fixture(scope="module")
def dated(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server of pictures in three folders; all but those of one folder say when they were taken."""
    root = tmp_path_factory.mktemp("dated")
    for name, amount, month in (
        ("Holidays", HOLIDAYS, "2023:07"),
        ("Garden", GARDEN, "2024:02"),
        ("Shared", SHARED, None),
    ):
        (root / "Pictures" / name).mkdir(parents=True)
        for number in range(amount):
            exif = Image.Exif()
            if month is not None:
                exif.get_ifd(0x8769)[0x9003] = f"{month}:{number + 1:02} 12:00:00"
            size = (640, 480) if number % 2 else (320, 240)
            picture = drawing(100 * amount + number).resize(size)
            picture.save(root / "Pictures" / name / f"{name} {number:02}.jpg", exif=exif)
    with pytest.raises(SystemExit, match="0"):
        main(["--store", str(root / "store"), "--progress", "none", "index", str(root / "Pictures")])
    with Workspace(root / "store") as workspace, serving(workspace, OpenGate()) as address:
        yield address


@pytest.fixture
def page(context: BrowserContext, dated: str, watch: Watch) -> Iterator[Page]:
    page = context.new_page()
    watch.follow(page)
    page.goto(f"{dated}/#/browse/default")
    expect(page.locator(".facet-value").first).to_be_visible()
    yield page
    page.close()
    assert watch.complaints == []


def facet(page: Page, name: str) -> None:
    page.locator(".facet-value", has_text=re.compile(rf"^{name}")).click()


def conditions(page: Page) -> list[str]:
    return parse_qs(page.url.partition("?")[2]).get("only", [])


def test_facets_are_joined_shown_as_chips_and_part_of_the_address(page: Page) -> None:
    facet(page, "Holidays")
    expect(tiles(page)).to_have_count(HOLIDAYS)
    facet(page, "under 500 px")
    expect(tiles(page)).to_have_count(HOLIDAYS // 2)
    expect(page.locator(".chip")).to_have_text(["Holidays", "under 500 px"])
    assert len(conditions(page)) == 2
    page.reload()
    expect(tiles(page)).to_have_count(HOLIDAYS // 2)
    expect(page.locator(".chip")).to_have_text(["Holidays", "under 500 px"])
    page.get_by_role("button", name="Take away: Holidays").click()
    expect(page.locator(".note")).to_contain_text(f"of {(HOLIDAYS + GARDEN + SHARED) // 2} images")
    page.get_by_role("button", name="Take away: under 500 px").click()
    expect(tiles(page)).to_have_count(HOLIDAYS + GARDEN + SHARED)
    assert conditions(page) == []
    page.go_back()
    expect(page.locator(".chip")).to_have_text("under 500 px")
    page.go_back()
    expect(tiles(page)).to_have_count(HOLIDAYS // 2)
    expect(page.locator(".chip")).to_have_text(["Holidays", "under 500 px"])


def test_a_bar_of_the_timeline_narrows_to_its_month_and_takes_it_back(page: Page) -> None:
    bars = page.get_by_role("group", name="Timeline").get_by_role("button")
    expect(bars).to_have_count(2)
    july = page.get_by_role("button", name=f"July 2023, {HOLIDAYS} images")
    july.click()
    expect(tiles(page)).to_have_count(HOLIDAYS)
    assert conditions(page) == ["taken_at = 2023-07"]
    expect(page.locator(".chip")).to_have_text("July 2023")
    expect(july).to_be_focused()
    picture_of(page, "browse-narrowed")
    page.keyboard.press("Enter")
    expect(tiles(page)).to_have_count(HOLIDAYS + GARDEN + SHARED)


def test_a_condition_is_completed_written_and_joined_with_facets(page: Page) -> None:
    facet(page, "Holidays")
    expect(tiles(page)).to_have_count(HOLIDAYS)
    box = page.get_by_label("Only images where")
    box.press_sequentially("for")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    box.press_sequentially(' = "j')
    expect(page.get_by_role("option")).to_have_text(["jpeg "])
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(box).to_have_value('format = "jpeg"')
    box.press_sequentially(" and width > 320")
    page.keyboard.press("Enter")
    expect(tiles(page)).to_have_count(HOLIDAYS // 2)
    assert "where=" in page.url


def test_when_nothing_is_left_the_page_says_so_and_offers_the_way_back(page: Page) -> None:
    page.get_by_label("Only images where").fill("width > 9000")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Nothing is left")).to_be_visible()
    page.get_by_role("button", name="Show all images").click()
    expect(tiles(page)).to_have_count(HOLIDAYS + GARDEN + SHARED)
    expect(page.get_by_label("Only images where")).to_have_value("")


def test_a_wrong_condition_is_shown_under_its_place_with_facets_too(page: Page, watch: Watch) -> None:
    watch.expected = ("Failed to load resource: the server responded with a status of 422",)
    facet(page, "Holidays")
    expect(tiles(page)).to_have_count(HOLIDAYS)
    page.get_by_label("Only images where").fill("wide > 9000")
    page.keyboard.press("Enter")
    expect(page.locator("#where-error pre")).to_have_text("wide > 9000\n^")
    facet_names = page.locator(".facet-value")
    expect(facet_names.first).to_be_visible()


def test_back_from_a_search_shows_what_was_narrowed(page: Page) -> None:
    facet(page, "Garden")
    expect(tiles(page)).to_have_count(GARDEN)
    tiles(page).nth(2).locator(".face").click()
    expect(page.locator(".query .name")).to_contain_text("Garden")
    page.go_back()
    expect(tiles(page)).to_have_count(GARDEN)
    expect(page.locator(".chip")).to_have_text("Garden")
