"""What holds in every view: the keyboard, a phone, names as text, where the weights are from."""

import re
from pathlib import Path

from playwright.sync_api import Browser, Page, expect

from api.http.page_files import PAGE
from tests.web_page import FOREIGN, HOSTILE, NAMED, Watch, choose, drawing, expect_found_itself, png, tiles

FILES = Path(__file__).parents[3] / "api" / "page"


def test_every_file_of_the_page_is_served() -> None:
    assert set(PAGE) == {file.name for file in FILES.iterdir()}


def test_everything_works_from_the_keyboard(page: Page) -> None:
    page.goto("/")
    expect(tiles(page)).to_have_count(12)
    page.keyboard.press("/")
    expect(page.locator("main input[type=file]:not([capture])")).to_be_focused()
    for _ in ("the address", "its button", "the first image"):
        page.keyboard.press("Tab")
    expect(tiles(page).nth(0).locator(".face")).to_be_focused()
    for key, expected in (("ArrowRight", 1), ("ArrowDown", 7), ("ArrowLeft", 6), ("Home", 0), ("End", 11)):
        page.keyboard.press(key)
        expect(tiles(page).nth(expected).locator(".face")).to_be_focused()
    name = tiles(page).nth(11).locator(".name").inner_text()
    page.keyboard.press("Space")
    dialog = page.get_by_role("dialog", name=name)
    expect(dialog).to_be_visible()
    page.keyboard.press("ArrowLeft")
    expect(dialog).to_have_count(0)
    page.keyboard.press("ArrowRight")
    expect(dialog).to_be_visible()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(page).not_to_have_url(re.compile("look="))
    expect(tiles(page).nth(11).locator(".face")).to_be_focused()
    page.keyboard.press("Tab")
    expect(tiles(page).nth(11).locator(".look")).to_be_focused()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    expect(page.locator(".query .name")).to_have_text(name)
    expect(page.get_by_role("heading", level=1)).to_be_focused()


def test_the_closer_look_has_an_address_and_back_closes_it(page: Page) -> None:
    page.goto("/#/browse/default?look=7")
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_text("7", exact=True)).to_be_visible()
    dialog.get_by_role("button", name="Close").click()
    expect(page).to_have_url(re.compile("#/browse/default$"))
    tiles(page).nth(2).get_by_role("button", name="Look closer").click()
    page.keyboard.press("ArrowRight")
    expect(dialog.locator(".position")).to_contain_text("4 of")
    page.go_back()
    expect(dialog).to_be_hidden()
    expect(page).to_have_url(re.compile("#/browse/default$"))
    page.go_forward()
    expect(dialog.locator(".position")).to_contain_text("4 of")
    dialog.get_by_role("link", name="Search from this image").click()
    expect(page.locator(".query .name")).to_be_visible()
    page.go_back()
    expect(dialog.locator(".position")).to_contain_text("4 of")


def test_a_phone_never_scrolls_sideways(browser: Browser, url: str, watch: Watch) -> None:
    context = browser.new_context(base_url=url, viewport={"width": 360, "height": 740}, has_touch=True)
    page = context.new_page()
    watch.follow(page)
    for view in (
        "/#/",
        "/#/search/default/1",
        f"/#/search/named/{NAMED}",
        "/#/browse/default",
        "/#/duplicates/default",
    ):
        page.goto(view)
        expect(tiles(page).first).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") == 360, view
    page.locator(".face").first.click()
    expect(page.get_by_role("dialog")).to_be_visible()
    assert page.evaluate("document.querySelector('dialog').scrollWidth") == 360
    assert watch.complaints == []
    context.close()


def test_file_names_are_text_whatever_they_contain(page: Page) -> None:
    page.goto("/")
    choose(page, HOSTILE, png(drawing(1000)))
    expect_found_itself(page, HOSTILE)
    expect(page.locator(".query .name")).to_have_text(HOSTILE)
    tiles(page).first.locator(".look").click()
    expect(page.get_by_role("dialog").get_by_role("heading")).to_have_text(HOSTILE)
    page.keyboard.press("Escape")
    expect(page).not_to_have_url(re.compile("look="))
    choose(page, FOREIGN, png(drawing(1001)))
    expect_found_itself(page, FOREIGN)
    expect(page.locator("img[src=x]")).to_have_count(0)


def test_the_backbone_and_the_licence_of_its_weights_are_named(page: Page) -> None:
    page.goto("/")
    expect(page.locator("#about")).to_have_text("Compared by builtin · licence of its weights: apache-2.0")
    answer = page.request.get("/v1/collections").json()
    consent = {"licence": "cc-by-nc-4.0", "licence_accepted": "cc-by-nc-4.0"}
    for item in answer["items"]:
        item.update(consent, licence_accepted_at="2026-03-04T05:06:07+00:00")
    page.route("**/v1/collections", lambda route: route.fulfill(json=answer))
    page.reload()
    expect(page.locator("#about")).to_contain_text("cc-by-nc-4.0: no commercial use, agreed on 2026-03-04")
