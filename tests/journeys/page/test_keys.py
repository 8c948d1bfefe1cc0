"""A server that asks for keys: typed once, kept by the tab, sent in a header and nowhere else."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Request, expect

from api.http.key_gate import KeyGate
from api.workspace import Workspace
from search.storing.api_keys import ApiKeys
from tests.journeys.page.conftest import serving
from tests.web_page import Watch, choose, drawing, expect_found_itself, picture_of, png, tiles

# How far anything on screen was moved by something else, in the browser's own measure.
SHIFTS = """() => new Promise((done) => {
  let sum = 0;
  const count = (list) => list.getEntries().forEach((one) => (sum += one.value));
  new PerformanceObserver(count).observe({ type: "layout-shift", buffered: true });
  setTimeout(() => done(sum), 200);
})"""
PASTE_ADDRESS = """() => {
  const clipboardData = new DataTransfer();
  clipboardData.setData("text/plain", "https://pictures.example/a.png");
  document.dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true }));
}"""
REFUSED = "Failed to load resource: the server responded with a status of 401"


@pytest.fixture(scope="module")
def locked(served: Path) -> Iterator[tuple[str, ApiKeys]]:
    """The address of a server that asks for keys, and its keys."""
    with Workspace(served) as workspace:
        keys = ApiKeys(workspace.store.database)
        with serving(workspace, KeyGate(keys, None, always=True)) as address:
            yield address, keys


@pytest.fixture
def visitor(browser: Browser, locked: tuple[str, ApiKeys], watch: Watch) -> Iterator[Page]:
    """A page of somebody who has typed nothing yet."""
    watch.expected = (REFUSED,)
    context = browser.new_context(base_url=locked[0], viewport={"width": 1280, "height": 800}, reduced_motion="reduce")
    page = context.new_page()
    watch.follow(page)
    yield page
    context.close()
    assert watch.complaints == []


def type_key(page: Page, key: str) -> None:
    page.get_by_label("Key", exact=True).fill(key)
    page.get_by_role("button", name="Open").click()


def test_a_key_that_is_typed_once_opens_everything_until_the_tab_forgets_it(
    visitor: Page, locked: tuple[str, ApiKeys]
) -> None:
    _, secret = locked[1].create("read")
    asked: list[str] = []

    def remember(request: Request) -> None:
        asked.append(request.url)

    visitor.on("request", remember)
    visitor.goto("/#/browse/default")
    expect(visitor.get_by_role("heading", level=1)).to_have_text("This server asks for a key")
    expect(visitor.get_by_label("Key", exact=True)).to_be_focused()
    visitor.keyboard.type(secret)
    visitor.keyboard.press("Enter")
    expect(tiles(visitor).first.locator("img.loaded")).to_be_visible()
    visitor.reload()
    expect(tiles(visitor).first.locator("img.loaded")).to_be_visible()
    tiles(visitor).first.locator(".look").click()
    expect(visitor.locator(".stage img")).to_be_visible()
    visitor.wait_for_function("document.querySelector('.stage img').naturalWidth > 0")
    visitor.keyboard.press("Escape")
    expect(visitor).not_to_have_url(re.compile("look="))  # closing it goes back in the history, which takes a moment
    visitor.goto("/#/")
    choose(visitor, "mine.png", png(drawing(11)))
    expect_found_itself(visitor, "drawing 11.png")
    assert asked
    assert [url for url in asked if secret in url] == []
    assert visitor.context.cookies() == []
    assert visitor.evaluate("Object.keys(localStorage).length") == 0
    visitor.get_by_role("button", name="Forget the key").click()
    expect(visitor.get_by_role("heading", level=1)).to_have_text("This server asks for a key")
    expect(tiles(visitor)).to_have_count(0)
    visitor.reload()
    expect(visitor.get_by_label("Key", exact=True)).to_be_visible()


@pytest.mark.parametrize(("key", "says"), [("lk_wrong", "is not known here"), ("lk_ü", "neither blanks nor accents")])
def test_a_wrong_key_is_said_so_without_anything_moving(visitor: Page, key: str, says: str) -> None:
    visitor.goto("/")
    button = visitor.get_by_role("button", name="Open")
    expect(button).to_be_visible()
    before = button.bounding_box()
    type_key(visitor, key)
    expect(visitor.get_by_role("alert")).to_contain_text(says)
    expect(visitor.get_by_label("Key", exact=True)).to_be_focused()
    assert button.bounding_box() == before
    assert visitor.evaluate(SHIFTS) == 0


def test_a_key_that_is_revoked_meanwhile_is_asked_for_anew_with_the_reason(
    visitor: Page, locked: tuple[str, ApiKeys]
) -> None:
    made, secret = locked[1].create("read")
    visitor.goto("/")
    type_key(visitor, secret)
    expect(tiles(visitor).first).to_be_visible()
    locked[1].revoke(str(made.id))
    visitor.get_by_role("link", name="Browse").click()
    expect(visitor.get_by_role("alert")).to_contain_text("This key is revoked")
    expect(tiles(visitor)).to_have_count(0)


def test_a_key_for_one_collection_shows_that_one(visitor: Page, locked: tuple[str, ApiKeys], served: Path) -> None:
    with Workspace(served) as workspace:
        _, secret = locked[1].create("read", only=workspace.collection("few"))
    visitor.goto("/")
    type_key(visitor, secret)
    expect(tiles(visitor)).to_have_count(3)
    expect(visitor.locator("#choice")).to_be_hidden()


def test_a_key_that_may_only_read_is_told_why_it_can_press_nothing(visitor: Page, locked: tuple[str, ApiKeys]) -> None:
    visitor.goto("/#/duplicates/default")
    type_key(visitor, locked[1].create("read")[1])
    expect(visitor.locator(".group .tile[data-id]").first).to_be_visible()
    expect(visitor.locator(".why-not").first).to_contain_text("Your key may read; this needs one of role dedup.")
    expect(visitor.locator("[data-say]")).to_have_count(0)
    expect(visitor.get_by_role("button", name="Look again")).to_have_count(0)
    visitor.get_by_role("link", name="Plans").click()
    visitor.locator(".plan-row a").first.click()
    expect(visitor.locator(".why-not")).to_contain_text("lookalike keys create --role dedup")
    expect(visitor.get_by_role("button", name=re.compile("quarantine|Undo|Delete"))).to_have_count(0)
    picture_of(visitor, "plan-read-only")


def test_a_server_that_fetches_nothing_from_the_web_is_not_offered_addresses(
    visitor: Page, locked: tuple[str, ApiKeys]
) -> None:
    visitor.goto("/")
    type_key(visitor, locked[1].create("read")[1])
    expect(tiles(visitor)).to_have_count(12)
    expect(visitor.get_by_role("button", name="Search by address")).to_have_count(0)
    visitor.evaluate(PASTE_ADDRESS)
    expect(visitor.locator("#notices .hint")).to_contain_text("fetches no pictures from the web")
    expect(visitor).to_have_url(re.compile("/(#/)?$"))


def test_a_phone_shows_the_wish_for_a_key_without_scrolling_sideways(
    browser: Browser, locked: tuple[str, ApiKeys], watch: Watch
) -> None:
    context = browser.new_context(base_url=locked[0], viewport={"width": 360, "height": 740}, color_scheme="dark")
    page = context.new_page()
    page.goto("/")
    expect(page.get_by_label("Key", exact=True)).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    context.close()
