"""The filter of the page's results in a real browser: its fields, by hand and by keyboard, and errors in place."""

import re
import shutil
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import uvicorn
from playwright.sync_api import ConsoleMessage, Locator, Page, expect, sync_playwright

from api.app import Parts, create_app
from api.cli import main
from api.readiness import Readiness
from api.thumbnails import Thumbnails
from api.workspace import Workspace
from indexer.backbones.backbones import BUILTIN_PREPARATION
from indexer.decoding.decoder_pool import DecoderPool
from search.conditions.fields import FIELDS
from search.conditions.where import parse
from tests.conftest import painted, skip

SCRIPT = Path(__file__).parents[2] / "api" / "page" / "filter_box.js"
FLAGS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
WIDTHS = (100, 200, 300, 400, 500)
REFUSED = "Failed to load resource: the server responded with a status of 422"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server with one collection: five pictures of different widths."""
    folder, store = tmp_path_factory.mktemp("pictures"), tmp_path_factory.mktemp("served") / "store"
    for width in WIDTHS:
        painted(width, (width, 120)).save(folder / f"wide {width}.png")
    with pytest.raises(SystemExit, match="0"):
        main(["--store", str(store), "--progress", "none", "index", str(folder)])
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        Workspace(store) as workspace,
        DecoderPool(BUILTIN_PREPARATION, children=1) as pool,
        ThreadPoolExecutor(1) as thread,
    ):
        parts = Parts(workspace, Thumbnails(pool), Readiness(workspace), ("127.0.0.1",))
        server = uvicorn.Server(uvicorn.Config(create_app(parts), log_level="warning"))
        running = thread.submit(server.run, [listening])
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        running.result()


@pytest.fixture(scope="module")
def page(url: str) -> Iterator[Page]:
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        skip("Chromium is not installed")
    complaints: list[str] = []

    def note(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and not message.text.startswith(REFUSED):
            complaints.append(message.text)

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_page(base_url=url, reduced_motion="reduce")
        page.on("console", note)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        yield page
        browser.close()
    assert complaints == []


@pytest.fixture
def box(page: Page) -> Locator:
    """The filter, empty, over the five results of the first image."""
    page.goto("about:blank")
    page.goto("/#/search/default/1")
    expect(tiles(page)).to_have_count(len(WIDTHS))
    return page.get_by_role("combobox", name="Only images where")


def tiles(page: Page) -> Locator:
    return page.locator("main .tile[data-id]")


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
    expect(page).to_have_url(re.compile(r"#/search/default/1$"))


def test_fields_are_suggested_while_one_types_and_taken_by_keyboard(page: Page, box: Locator) -> None:
    options = page.get_by_role("listbox", name="Fields").get_by_role("option")
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


def test_an_address_with_a_wrong_filter_says_so_and_can_be_mended(page: Page, box: Locator) -> None:
    page.goto("about:blank")
    page.goto("/#/search/default/1?where=width+%3E")
    expect(page.get_by_role("heading", level=1)).to_have_text("The filter cannot be understood")
    expect(page.locator(".filter [role=alert]")).to_contain_text("it ends too early")
    box.fill("width > 250")
    box.press("Enter")
    expect(tiles(page)).to_have_count(3)
