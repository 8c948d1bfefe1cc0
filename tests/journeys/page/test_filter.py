"""The filter of the page's results in a real browser: its fields, by hand and by keyboard, and errors in place."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from search.conditions.fields import FIELDS
from search.conditions.where import MAX_VALUES, parse
from tests.web_page import WIDE, WIDTHS, Watch, tiles

SCRIPT = Path(__file__).parents[3] / "api" / "page" / "filter_box.js"
REFUSED = "Failed to load resource: the server responded with a status of 422"


@pytest.fixture
def box(page: Page, watch: Watch) -> Locator:
    """The filter, empty, over the five results of the first image of the collection `wide`."""
    watch.expected = (REFUSED,)
    page.goto(f"/#/search/wide/{WIDE}")
    expect(tiles(page)).to_have_count(len(WIDTHS))
    return page.get_by_role("combobox", name="Only images where")


def test_every_field_is_named_and_every_example_is_understood() -> None:
    rows = re.findall(r"""^  \["([\w.]+)", "[^"]+", (?:"([^"]+)"|'([^']+)')\],$""", SCRIPT.read_text(), re.M)
    assert {name for name, _, _ in rows} == {*FIELDS, "metadata.KEY"}
    for name, double, single in rows:
        example = double or single
        parse(example)
        assert example.startswith(name.replace("KEY", ""))


def test_a_filter_narrows_the_results_and_is_part_of_the_address(page: Page, box: Locator) -> None:
    box.fill("width >= 300")
    box.press("Enter")
    expect(tiles(page)).to_have_count(3)
    expect(page.get_by_text("The closest 3 that the filter lets through")).to_be_visible()
    expect(box).to_be_focused()
    page.reload()
    expect(tiles(page)).to_have_count(3)
    expect(box).to_have_value("width >= 300")
    box.fill("width > 9000")
    page.get_by_role("button", name="Filter").click()
    expect(page.get_by_text("No image of this collection fulfils that.")).to_be_visible()
    box.fill("")
    box.press("Enter")
    expect(tiles(page)).to_have_count(5)
    expect(page).to_have_url(re.compile(rf"#/search/wide/{WIDE}$"))


def test_fields_are_suggested_while_one_types_and_taken_by_keyboard(page: Page, box: Locator) -> None:
    options = page.get_by_role("listbox", name="Suggestions").get_by_role("option")
    box.press_sequentially("m")
    expect(options).to_have_text(["metadata.KEY what you stored"])
    box.press("Escape")
    expect(options).to_have_count(0)
    expect(box).to_have_attribute("aria-expanded", "false")
    box.fill("")
    box.press_sequentially("height > 1 and w")
    expect(options).to_have_text(["width pixels"])
    expect(box).to_have_attribute("aria-expanded", "true")
    box.press("ArrowDown")
    expect(options.first).to_have_attribute("aria-selected", "true")
    assert box.get_attribute("aria-activedescendant") == options.first.get_attribute("id")
    box.press("Enter")
    expect(box).to_have_value("height > 1 and width")
    box.press_sequentially(" < 300")
    box.press("Enter")
    expect(tiles(page)).to_have_count(2)
    box.fill("")
    box.press_sequentially('key = "w')
    expect(options).to_have_count(0)


def test_the_list_of_fields_opens_by_keyboard_and_gives_examples(page: Page, box: Locator) -> None:
    box.press("Tab")
    page.keyboard.press("Tab")
    expect(page.locator("summary", has_text="Fields and examples")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator(".filter dt")).to_have_text([*re.findall(r'^  \["([\w.]+)",', SCRIPT.read_text(), re.M)])
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(box).to_be_focused()
    expect(box).to_have_value("width >= 1000")
    page.get_by_role("button", name='format in ("png", "webp")').click()
    expect(box).to_have_value('width >= 1000 and format in ("png", "webp")')


def test_what_is_wrong_is_shown_under_its_place_and_the_results_stay(page: Page, box: Locator) -> None:
    box.fill("height > 1 and widht > 5")
    box.press("Enter")
    alert = page.locator(".filter [role=alert]")
    expect(alert).to_contain_text("widht is no field; did you mean width?")
    assert alert.locator("pre").inner_text() == "height > 1 and widht > 5\n               ^"
    expect(box).to_be_focused()
    expect(box).to_have_attribute("aria-invalid", "true")
    assert box.evaluate("(input) => input.selectionStart") == 15
    expect(tiles(page)).to_have_count(5)
    box.press("End")
    box.press_sequentially("0")
    expect(alert).to_be_empty()
    box.press("Backspace")
    box.press("Enter")
    expect(alert).to_contain_text("widht is no field")
    box.fill("height > 1 and width > 250")
    box.press("Enter")
    expect(tiles(page)).to_have_count(3)
    expect(alert).to_be_empty()
    assert box.get_attribute("aria-invalid") is None


def test_a_wrong_filter_leaves_no_statement_about_results(page: Page, box: Locator) -> None:
    expect(page.get_by_text(f"These are all {len(WIDTHS)} images.")).to_be_visible()
    box.fill("widht > 5")
    box.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("The filter cannot be understood")
    expect(page.locator(".note")).to_have_text("")
    expect(page.locator(".foot")).to_be_empty()
    expect(page.locator("#status")).to_be_empty()
    # The results of before are still there to be looked at, dimmed.
    expect(page.locator(".grid.stale .tile[data-id]")).to_have_count(len(WIDTHS))
    box.fill("width > 250")
    box.press("Enter")
    expect(page.get_by_text("The closest 3 that the filter lets through")).to_be_visible()
    expect(page.locator(".grid.stale")).to_have_count(0)


def test_a_wrong_filter_after_one_that_nothing_fulfils_does_not_go_on_saying_so(page: Page, box: Locator) -> None:
    box.fill("width > 9000")
    box.press("Enter")
    expect(page.get_by_text("No image of this collection fulfils that.")).to_be_visible()
    box.fill("width > 9000 andd height > 1")
    box.press("Enter")
    expect(page.locator(".filter [role=alert]")).to_contain_text("andd does not belong here")
    for statement in ("No results", "No image of this collection fulfils that.", "copy found", "0 results"):
        expect(page.get_by_text(statement)).to_have_count(0)


def test_a_filter_that_is_too_large_is_refused_at_the_filter_too(page: Page, box: Locator) -> None:
    box.fill(f"width in ({','.join(['1'] * (MAX_VALUES + 1))})")
    box.press("Enter")
    expect(page.locator(".filter [role=alert]")).to_have_text(re.compile(f"the limit is {MAX_VALUES}$"))
    expect(page.locator(".filter pre")).to_have_count(0)
    expect(page.get_by_text("No other copy found")).to_have_count(0)
    expect(box).to_be_focused()


def test_an_address_with_a_wrong_filter_says_so_and_can_be_mended(page: Page, box: Locator) -> None:
    page.goto("about:blank")
    page.goto(f"/#/search/wide/{WIDE}?where=width+%3E")
    expect(page.get_by_role("heading", level=1)).to_have_text("The filter cannot be understood")
    expect(page.locator(".filter [role=alert]")).to_contain_text("it ends too early")
    box.fill("width > 250")
    box.press("Enter")
    expect(tiles(page)).to_have_count(3)
