"""The browse view and the closer look at one image."""

import re
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.web_page import (
    INDEXED,
    tiles,
)


def test_what_was_sent_is_called_by_its_key(page: Page) -> None:
    page.goto("/")
    digits = "05" * 32
    uri = f"file:///store/uploads/05/{digits}.jpeg"
    called = page.evaluate(
        """async (images) => {
          const { name, folder } = await import("/page/words.js");
          return images.map((image) => [name(image), folder(image)]);
        }""",
        [
            {"key": "shop/17", "uri": uri, "path": uri.removeprefix("file://")},
            {"key": f"sha256:{digits}", "uri": uri, "path": uri.removeprefix("file://")},
            {"key": "shop/18", "uri": "file:///photos/a.jpeg", "path": "/photos/a.jpeg"},
        ],
    )
    assert called == [["shop/17", "uploads"], [f"{digits}.jpeg", "uploads"], ["a.jpeg", "photos"]]


def test_browsing_loads_the_whole_collection_while_one_scrolls(page: Page) -> None:
    page.goto("/#/browse/default")
    expect(tiles(page).first).to_be_visible()
    page.keyboard.press("End")
    expect(tiles(page)).to_have_count(INDEXED)
    expect(page.get_by_text("That is all.")).to_be_visible()


def test_the_selector_changes_the_collection_and_keeps_the_view(page: Page) -> None:
    page.goto("/#/browse/default")
    page.get_by_label("Collection", exact=True).select_option("few")
    expect(page).to_have_url(re.compile(r"#/browse/few$"))
    expect(tiles(page)).to_have_count(3)
    expect(page.locator("#counts")).to_contain_text("3 images")


def test_the_closer_look_shows_and_copies_the_path(page: Page, pictures: Path) -> None:
    page.goto("/#/browse/default")
    path = str(pictures / "drawing 05.png")
    tile = page.locator(".tile", has=page.locator(f'[title="{path}"]'))
    tile.get_by_role("button", name="Look closer").click()
    dialog = page.get_by_role("dialog", name="drawing 05.png")
    expect(dialog.locator(".path")).to_have_text(path)
    expect(dialog.locator("dl")).to_contain_text("288 × 240 pixels")
    expect(dialog.locator("dl")).to_contain_text("PNG")
    dialog.get_by_role("button", name="Copy path").click()
    expect(dialog.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == path
    dialog.get_by_role("link", name="Search from this image").click()
    expect(dialog).to_be_hidden()
    expect(page.locator(".query .name")).to_have_text("drawing 05.png")
