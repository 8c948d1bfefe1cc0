"""Journeys through the web page in a real browser, against a real server on a small store of generated pictures."""

import base64
import io
import re
import shutil
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import uvicorn
from PIL import Image
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Dialog,
    Locator,
    Page,
    Route,
    expect,
    sync_playwright,
)

from api.app import MAX_BODY_BYTES, PAGE, Parts, create_app
from api.cli import main
from api.readiness import Readiness
from api.thumbnails import Thumbnails
from api.workspace import Workspace
from indexer.backbones.backbones import BUILTIN_PREPARATION
from indexer.decoding.decoder_pool import DecoderPool
from search.records import Embeddings, Label
from tests.conftest import painted, skip
from tests.fakes import ColourLabeller

FILES = Path(__file__).parents[2] / "api" / "page"
HOSTILE = "<img src=x onerror=alert(1)>.png"
FOREIGN = "Größe – 写真 ночь.png"
PLAIN = 46
INDEXED = PLAIN + 5
NAMED = INDEXED + 3 + 1  # the first id of the third collection
FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# A function of the browser: a PNG file of base64 text.
AS_FILE = """(data) => {
  const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
  return new File([bytes], "picture.png", { type: "image/png" });
}"""
expect.set_options(timeout=15_000)


class FirstLabels(ColourLabeller):
    """Only the most probable of the three labels."""

    def labels(self, raw: Embeddings) -> list[tuple[Label, ...]]:
        return [found[:1] for found in super().labels(raw)]


def drawing(seed: int) -> Image.Image:
    """A picture unlike those of other seeds."""
    return painted(seed, (288, 240))


def png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def chromium() -> str:
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    skip("Chromium is not installed")
    raise AssertionError


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The indexed folder: plain drawings, two names to be careful with, and one picture with two copies."""
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(PLAIN):
        drawing(number).save(folder / f"drawing {number:02}.png")
    drawing(1000).save(folder / HOSTILE)
    drawing(1001).save(folder / FOREIGN)
    original = drawing(1002)
    original.save(folder / "original.png")
    shutil.copy(folder / "original.png", folder / "same bytes.png")
    original.resize((144, 120)).save(folder / "smaller.jpg", quality=70)
    return folder


@pytest.fixture(scope="module")
def url(chromium: str, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server with the collections `default`, `few` and `named`, whose images have labels.

    chromium: without it none is started.
    """
    store = tmp_path_factory.mktemp("served") / "store"
    options = ["--store", str(store), "--progress", "none"]
    few = [str(pictures / f"drawing {number:02}.png") for number in range(3)]
    named = tmp_path_factory.mktemp("named")
    for number in range(30):
        drawing(2000 + number).save(named / f"named {number:02}.png")
    for command in (["index", str(pictures)], ["--collection", "few", "index", *few]):
        with pytest.raises(SystemExit, match="0"):
            main([*options, *command])
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit, match="0"):
        patch.setattr("indexer.backbones.prepared_backbone.PreparedBackbone.labeller", lambda _self: FirstLabels())
        main([*options, "--collection", "named", "index", "--labels", str(named)])
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
def browser(chromium: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        browser.close()


@dataclass
class Watch:
    """What a page must not do: print errors (violations of its content security policy are among them), open dialogs.

    expected: the start of errors that a test provokes; the browser itself prints one for every failed request.
    """

    seen: list[str] = field(default_factory=list)
    expected: tuple[str, ...] = ()

    def follow(self, page: Page) -> None:
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.seen.append(str(error)))
        page.on("dialog", self._dialog)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.seen.append(message.text)

    def _dialog(self, dialog: Dialog) -> None:
        self.seen.append(f"dialog {dialog.message}")
        dialog.dismiss()

    @property
    def complaints(self) -> list[str]:
        return [text for text in self.seen if not text.startswith(self.expected or ("\0",))]


@pytest.fixture(scope="module")
def context(browser: Browser, url: str) -> BrowserContext:
    context = browser.new_context(base_url=url, viewport={"width": 1280, "height": 800}, reduced_motion="reduce")
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    return context


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def page(context: BrowserContext, watch: Watch) -> Iterator[Page]:
    page = context.new_page()
    watch.follow(page)
    yield page
    page.close()
    assert watch.complaints == []


def tiles(page: Page) -> Locator:
    return page.locator("main .tile[data-id]")


def names(page: Page) -> list[str]:
    return page.locator("main .tile[data-id] .name").all_inner_texts()


def choose(page: Page, name: str, data: bytes) -> None:
    page.locator("main input[type=file]").set_input_files({"name": name, "mimeType": "image/png", "buffer": data})


def expect_found_itself(page: Page, name: str) -> None:
    expect(page.get_by_role("heading", level=1)).to_have_text("1 identical image")
    first = tiles(page).first
    expect(first.locator(".name")).to_have_text(name)
    expect(first.locator(".score")).to_have_text("1.000")
    expect(first.locator(".badge")).to_have_text("identical")
    expect(first.locator("img.loaded")).to_be_visible()


def test_every_file_of_the_page_is_served() -> None:
    assert set(PAGE) == {file.name for file in FILES.iterdir()}


def test_choosing_a_file_finds_the_picture_itself_first(page: Page) -> None:
    page.goto("/")
    expect(page.locator("#counts")).to_have_text(f"{INDEXED} images{INDEXED} searchable0 failed")
    choose(page, "mine.png", png(drawing(7)))
    expect_found_itself(page, "drawing 07.png")
    expect(page.locator(".query .name")).to_have_text("mine.png")
    expect(page).to_have_url(re.compile(r"#/search/default/upload-\w+$"))


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


def test_everything_works_from_the_keyboard(page: Page) -> None:
    page.goto("/")
    expect(tiles(page)).to_have_count(12)
    page.keyboard.press("/")
    expect(page.locator("main input[type=file]")).to_be_focused()
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
    expect(tiles(page).nth(11).locator(".face")).to_be_focused()
    page.keyboard.press("Tab")
    expect(tiles(page).nth(11).locator(".look")).to_be_focused()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    expect(page.locator(".query .name")).to_have_text(name)
    expect(page.get_by_role("heading", level=1)).to_be_focused()


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


def test_the_duplicates_tab_lists_the_planted_group(page: Page) -> None:
    page.goto("/")
    page.get_by_role("link", name="Duplicates").click()
    group = page.locator(".group", has_text="original.png")
    expect(group.get_by_role("heading")).to_have_text("2 copies")
    expect(group.locator(".keeper .name")).to_have_text("original.png")
    expect(group.locator(".keeper .badge")).to_have_text("keep")
    expect(group.locator(".tile", has_text="same bytes.png").locator(".badge")).to_have_text("same pixels")
    expect(group.locator(".tile", has_text="smaller.jpg").locator(".score")).to_have_text(re.compile(r"^(0\.\d|1\.0)"))
    expect(page.locator(".totals dt")).to_have_text(["group", "copies", "reclaimable", "images compared"])
    expect(page.locator(".totals dd")).to_have_text(["1", "2", re.compile(r"^[\d.]+ KiB$"), str(INDEXED)])
    expect(page.get_by_text("This page changes nothing.")).to_be_visible()


def test_a_higher_threshold_asks_for_surer_groups_and_is_part_of_the_address(page: Page) -> None:
    page.goto("/#/duplicates/default")
    expect(page.locator(".group .tile")).to_have_count(3)
    page.get_by_label("Least score of a near copy, as a number").fill("1")
    expect(page.locator(".group .tile")).to_have_count(2)
    expect(page).to_have_url(re.compile(r"#/duplicates/default\?threshold=1$"))
    page.reload()
    expect(page.locator(".group .tile")).to_have_count(2)
    page.get_by_role("button", name="Default").click()
    expect(page.locator(".group .tile")).to_have_count(3)
    expect(page).to_have_url(re.compile(r"#/duplicates/default$"))


def label_counts(page: Page) -> dict[str, int]:
    """Return the labels of the collection `named` with their counts, as the server counts them."""
    items = page.request.get("/v1/collections/named/labels").json()["items"]
    return {item["label"]: item["images"] for item in items}


def test_a_chosen_label_filters_the_results_and_is_part_of_the_address(page: Page) -> None:
    page.goto(f"/#/search/named/{NAMED}")
    expect(tiles(page)).to_have_count(24)
    counts = label_counts(page)
    label, images = min(counts.items(), key=lambda item: item[1])
    choice = page.get_by_label("Label of the results")
    expect(choice.locator("option")).to_have_text(["Any label", *(f"{one} ({n})" for one, n in counts.items())])
    place = "(({ x, y, width }) => [x, y, width])(document.querySelector('.grid').getBoundingClientRect())"
    before = page.evaluate(place)
    choice.focus()
    choice.select_option(label)
    expect(tiles(page)).to_have_count(images)
    expect(choice).to_be_focused()
    assert set(page.locator("main .tile .label").all_inner_texts()) == {label.split(",")[0]}
    expect(page.get_by_text(f"These are all {images} image")).to_be_visible()
    assert page.evaluate(place) == before
    page.reload()
    expect(tiles(page)).to_have_count(images)
    expect(choice).to_have_value(label)
    expect(page.locator(".query .name")).to_have_text(re.compile(r"^named \d\d\.png$"))
    choice.select_option("Any label")
    expect(tiles(page)).to_have_count(24)
    expect(page).to_have_url(re.compile(rf"#/search/named/{NAMED}$"))


def test_a_label_filters_the_results_of_a_picture_and_back_remembers_it(page: Page) -> None:
    page.goto("/#/search/named")
    choose(page, "mine.png", png(drawing(2007)))
    expect_found_itself(page, "named 07.png")
    own = tiles(page).first.locator(".label").get_attribute("title") or ""
    label, images = next((one, n) for one, n in label_counts(page).items() if not own.startswith(one))
    page.get_by_label("Label of the results").select_option(label)
    expect(page.get_by_role("heading", level=1)).to_have_text("No copy found")
    expect(tiles(page)).to_have_count(min(images, 24))
    tiles(page).first.locator(".face").click()
    expect(tiles(page).first.locator(".badge")).to_have_text("this image")
    page.go_back()
    expect(tiles(page)).to_have_count(min(images, 24))
    expect(page.get_by_label("Label of the results")).to_have_value(label)


def test_the_closer_look_shows_the_labels_with_their_probabilities(page: Page) -> None:
    page.goto(f"/#/search/named/{NAMED}")
    short = tiles(page).first.locator(".label").inner_text()
    tiles(page).first.locator(".look").click()
    shown = page.get_by_role("dialog").locator(".labels")
    expect(shown.locator("dt")).to_have_text(re.compile(f"^{short}"))
    expect(shown.locator("dd")).to_have_text("60 %")


def test_where_there_are_no_labels_nothing_speaks_of_them(page: Page) -> None:
    page.goto("/#/search/default/1")
    expect(tiles(page)).to_have_count(24)
    expect(page.locator(".facet, .tile .label")).to_have_count(0)


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
    choose(page, FOREIGN, png(drawing(1001)))
    expect_found_itself(page, FOREIGN)
    expect(page.locator("img[src=x]")).to_have_count(0)


def test_a_picture_that_cannot_be_read_says_why_in_a_banner(page: Page, watch: Watch) -> None:
    watch.expected = ("Failed to load resource: the server responded with a status of 422",)
    page.goto("/")
    choose(page, "letter.png", b"Dear Sir or Madam")
    banner = page.locator("#notices .notice")
    expect(banner).to_contain_text("This picture cannot be read")
    expect(banner).to_contain_text("not_an_image")
    banner.get_by_role("button", name="Dismiss").click()
    expect(banner).to_have_count(0)
    choose(page, "mine.png", png(drawing(11)))
    expect_found_itself(page, "drawing 11.png")


def test_a_picture_that_is_too_large_says_so(page: Page, watch: Watch, tmp_path: Path) -> None:
    watch.expected = ("Failed to load resource",)
    huge = tmp_path / "huge.png"
    huge.write_bytes(png(drawing(0)).ljust(MAX_BODY_BYTES + 1, b"\0"))
    page.goto("/")
    page.locator("main input[type=file]").set_input_files(huge)
    expect(page.locator("#notices .notice")).to_contain_text("Too large")


def test_an_image_that_does_not_exist_says_so(page: Page, watch: Watch) -> None:
    watch.expected = ("Failed to load resource: the server responded with a status of 404",)
    page.goto("/#/search/default/999999")
    expect(page.locator("#notices .notice")).to_contain_text("999999")
    page.get_by_role("link", name="Browse").click()
    expect(tiles(page).first).to_be_visible()


def test_after_a_reload_an_uploaded_picture_has_to_be_chosen_again(page: Page) -> None:
    page.goto("/")
    choose(page, "mine.png", png(drawing(12)))
    expect_found_itself(page, "drawing 12.png")
    page.reload()
    expect(page.get_by_role("heading", level=1)).to_have_text("This picture is gone")
    choose(page, "mine.png", png(drawing(12)))
    expect_found_itself(page, "drawing 12.png")


def test_while_the_server_loads_the_page_waits_and_then_goes_on(page: Page, watch: Watch) -> None:
    watch.expected = ("Failed to load resource: the server responded with a status of 503",)
    answers = iter(["loading collection default"])

    def ready(route: Route) -> None:
        reason = next(answers, None)
        if reason is None:
            route.continue_()
        else:
            route.fulfill(status=503, json={"title": "Service Unavailable", "status": 503, "detail": reason})

    page.route("**/readyz", ready)
    page.goto("/")
    expect(page.get_by_text("loading collection default")).to_be_visible()
    expect(page.locator(".zone")).to_be_visible()


def test_a_server_that_goes_away_is_reported_and_its_return_noticed(page: Page, watch: Watch) -> None:
    watch.expected = ("Failed to load resource: net::ERR_FAILED",)
    page.goto("/")
    expect(tiles(page)).to_have_count(12)
    page.route(re.compile("/v1/|/healthz"), lambda route: route.abort())
    page.get_by_role("link", name="Browse").click()
    expect(page.locator("#notices .notice")).to_contain_text("The server does not answer")
    page.unroute_all()
    expect(tiles(page).first).to_be_visible()
    expect(page.locator("#notices .notice")).to_have_count(0)


def test_an_empty_store_teaches_how_to_index(page: Page) -> None:
    page.route("**/v1/collections", lambda route: route.fulfill(json={"items": [], "next_cursor": None}))
    page.goto("/")
    expect(page.get_by_text("lookalike index ~/Pictures")).to_be_visible()
    page.unroute_all()
    expect(page.locator(".zone")).to_be_visible()
