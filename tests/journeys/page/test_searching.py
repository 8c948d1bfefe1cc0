"""The search view: a picture chosen, pasted, dropped or clicked, and what is found."""

import base64
import re

from PIL import Image, ImageOps
from playwright.sync_api import Page, expect

from tests.web_page import (
    AS_FILE,
    INDEXED,
    choose,
    drawing,
    expect_found_itself,
    names,
    png,
    tiles,
)


def test_choosing_a_file_finds_the_picture_itself_first(page: Page) -> None:
    page.goto("/")
    expect(page.locator("#counts")).to_have_text(f"{INDEXED} images{INDEXED} searchable0 failed")
    choose(page, "mine.png", png(drawing(7)))
    expect_found_itself(page, "drawing 07.png")
    expect(page.locator(".query .name")).to_have_text("mine.png")
    expect(page).to_have_url(re.compile(r"#/search/default/upload-\w+$"))


def test_a_blank_picture_says_why_nothing_is_found(page: Page) -> None:
    page.goto("/")
    choose(page, "blank.png", png(Image.new("RGB", (64, 48), "white")))
    expect(page.get_by_role("heading", level=1)).to_have_text("No copy found")
    expect(page.locator(".note")).to_have_text(
        "The picture shows next to nothing, so only identical ones are compared."
    )
    expect(tiles(page)).to_have_count(0)
    expect(page.locator("main .teach")).to_have_count(0)


def test_collapsed_copies_of_the_picture_itself_count_as_found(page: Page) -> None:
    keeper = page.request.get("/v1/collections/default/groups").json()["items"][0]["keeper"]["id"]
    page.goto(f"/#/search/default/{keeper}?unique=true")
    expect(page.locator(".tile.self .badge.copies")).to_have_text("+2 copies")
    expect(page.get_by_role("heading", level=1)).to_have_text("2 other copies of it")


def test_pasting_a_picture_searches_for_it(page: Page) -> None:
    page.goto("/#/browse/default")
    expect(tiles(page).first).to_be_visible()
    page.evaluate(
        f"""async (data) => {{
          const file = ({AS_FILE})(data);
          await navigator.clipboard.write([new ClipboardItem({{ "image/png": file }})]);
        }}""",
        base64.b64encode(png(drawing(8))).decode(),
    )
    page.keyboard.press("Control+v")
    expect_found_itself(page, "drawing 08.png")


def test_dropping_a_picture_anywhere_searches_for_it(page: Page) -> None:
    page.goto("/#/duplicates/default")
    expect(page.locator(".group .face").first).to_be_visible()
    dropped = page.evaluate_handle(
        f"""(data) => {{
          const transfer = new DataTransfer();
          transfer.items.add(({AS_FILE})(data));
          return transfer;
        }}""",
        base64.b64encode(png(drawing(9))).decode(),
    )
    page.dispatch_event("h1", "dragover", {"dataTransfer": dropped})
    expect(page.locator("#drop")).to_be_visible()
    page.dispatch_event("h1", "drop", {"dataTransfer": dropped})
    expect(page.locator("#drop")).to_be_hidden()
    expect_found_itself(page, "drawing 09.png")


def test_a_click_on_a_result_searches_from_it_and_back_returns(page: Page) -> None:
    page.goto("/")
    choose(page, "mine.png", png(drawing(10)))
    expect_found_itself(page, "drawing 10.png")
    before = names(page)
    tiles(page).nth(20).scroll_into_view_if_needed()
    scrolled = page.evaluate("scrollY")
    chosen = tiles(page).nth(20)
    identity = chosen.get_attribute("data-id")
    chosen.locator(".face").click()
    expect(page).to_have_url(re.compile(rf"#/search/default/{identity}$"))
    expect(page.locator(".query .name")).to_have_text(before[20])
    expect(tiles(page).first.locator(".badge")).to_have_text("this image")
    page.go_back()
    expect(page.locator(".query .name")).to_have_text("mine.png")
    assert names(page) == before
    assert scrolled > 0
    assert page.evaluate("scrollY") == scrolled


def test_show_more_adds_results_until_all_are_shown(page: Page) -> None:
    page.goto("/#/search/default/1")
    expect(tiles(page)).to_have_count(24)
    first = names(page)
    page.get_by_role("button", name="Show more").click()
    expect(tiles(page)).to_have_count(48)
    expect(tiles(page).nth(24).locator(".face")).to_be_focused()
    page.get_by_role("button", name="Show more").click()
    expect(tiles(page)).to_have_count(INDEXED)
    expect(page.get_by_role("button", name="Show more")).to_have_count(0)
    assert names(page)[:24] == first


def test_after_a_reload_an_uploaded_picture_has_to_be_chosen_again(page: Page) -> None:
    page.goto("/")
    choose(page, "mine.png", png(drawing(12)))
    expect_found_itself(page, "drawing 12.png")
    page.reload()
    expect(page.get_by_role("heading", level=1)).to_have_text("This picture is gone")
    choose(page, "mine.png", png(drawing(12)))
    expect_found_itself(page, "drawing 12.png")


def test_a_mirrored_copy_is_found_by_its_pixels_and_the_page_says_what_was_done_and_shows_why(page: Page) -> None:
    page.goto("/")
    choose(page, "mirrored.png", png(ImageOps.mirror(drawing(11))))
    expect(page.get_by_role("heading", level=1)).to_have_text("1 edited copy")
    first = tiles(page).first
    expect(first.locator(".name")).to_have_text("drawing 11.png")
    expect(first.locator(".badge")).to_have_text("same picture")
    first.get_by_role("button", name="Look closer").click()
    closer = page.get_by_role("dialog")
    expect(closer.get_by_role("heading", name="What was done to it")).to_be_visible()
    expect(closer.locator(".edits li").first).to_have_text("mirrored")
    closer.get_by_role("button", name="Show why").click()
    shown = closer.get_by_role("img", name="drawing 11.png beside your picture")
    expect(shown).to_be_visible()
    expect(shown).to_have_js_property("complete", True)
    assert shown.evaluate("image => image.naturalWidth") > 1000


def test_what_has_the_focus_keeps_it_when_the_results_come_into_another_order(page: Page) -> None:
    page.goto("/")
    choose(page, "mirrored.png", png(ImageOps.mirror(drawing(12))))
    tiles(page).first.locator(".face").focus()
    held = page.evaluate("document.activeElement.closest('.tile').dataset.id")
    expect(page.get_by_role("heading", level=1)).to_have_text("1 edited copy")
    assert page.evaluate("document.activeElement.closest('.tile')?.dataset.id") == held
