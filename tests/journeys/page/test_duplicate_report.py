"""The report of `dedup -o`, opened as a file: looked through, filtered and reviewed with the keyboard."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect

from api.cli import main
from api.duplicate_report.writing import write_report
from search.duplicates.groups import DuplicateGroup
from search.duplicates.report import DuplicateReport
from tests.duplicate_groups import HOSTILE, DrawnGroupPictures, image_named, member, pairs
from tests.web_page import Watch

KEEPER = image_named(1)
MEMBERS = (
    member(2, "same_pixels"),
    member(3, "cropped", 0.93),
    member(4, "near", 0.81, HOSTILE),
)
FIRST_LOOKED_AT = [KEEPER.sha256.hex(), MEMBERS[0].image.sha256.hex()]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    groups = (DuplicateGroup(KEEPER, "most pixels", MEMBERS), *pairs(2))
    found = DuplicateReport(500, 0.8, groups)
    return write_report(found, "default", "none", DrawnGroupPictures(), tmp_path_factory.mktemp("report"))


@pytest.fixture
def offline(browser: Browser, watch: Watch) -> Iterator[BrowserContext]:
    context = browser.new_context(viewport={"width": 1280, "height": 800}, offline=True, accept_downloads=True)
    yield context
    context.close()
    assert watch.complaints == []


@pytest.fixture
def page(offline: BrowserContext, file: Path, watch: Watch) -> Page:
    page = offline.new_page()
    watch.follow(page)
    page.goto(file.as_uri())
    return page


def members(page: Page) -> Locator:
    return page.locator(".member:visible")


def focused(page: Page) -> str:
    return str(page.evaluate("document.activeElement.dataset.name"))


def test_a_person_reviews_with_the_keyboard_and_saves_what_they_said(
    page: Page, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expect(page.locator("#reviewed")).to_have_text("0 of 5 reviewed")
    expect(page.get_by_role("button", name="Save verdicts")).to_be_disabled()
    page.keyboard.press("ArrowRight")
    assert focused(page) == "2.jpg"
    for key in ("d", "n", "k"):
        page.keyboard.press(key)
    assert focused(page) == "101.jpg", "each verdict leads to the next copy, and on to the next group"
    expect(members(page).locator(".said")).to_have_text(["duplicate", "not a duplicate", "keep both", "", ""])
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("u")
    expect(members(page).locator(".said").nth(2)).to_have_text("")
    assert focused(page) == HOSTILE, "what was undone is looked at again"
    expect(page.locator("#reviewed")).to_have_text("2 of 5 reviewed")
    page.reload()
    expect(members(page).locator(".said")).to_have_text(["duplicate", "not a duplicate", "", "", ""])
    with page.expect_download() as download:
        page.get_by_role("button", name="Save verdicts").click()
    saved = tmp_path / "verdicts.csv"
    download.value.save_as(saved)
    with saved.open(newline="", encoding="utf-8") as opened:
        rows = list(csv.DictReader(opened))
    assert [row["verdict"] for row in rows] == ["duplicate", "not_duplicate"]
    assert sorted((rows[0]["first"], rows[0]["second"])) == sorted(FIRST_LOOKED_AT)
    store = ["--store", str(tmp_path / "store"), "--json"]
    with pytest.raises(SystemExit, match="0"):
        main([*store, "init"])
    with pytest.raises(SystemExit, match="0"):
        main([*store, "verdicts", "import", str(saved)])
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["imported"] == 2


def test_nothing_is_left_to_undo_before_the_first_verdict(page: Page) -> None:
    page.keyboard.press("u")
    expect(page.locator("#told")).to_have_text("Nothing to undo")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Control+d")
    expect(members(page).locator(".said").first).to_have_text("")


def test_a_verdict_can_be_given_and_changed_with_the_mouse(page: Page) -> None:
    tile = members(page).nth(1)
    tile.get_by_role("button", name="Duplicate", exact=True).click()
    expect(tile.locator(".said")).to_have_text("duplicate")
    tile.get_by_role("button", name="Keep both").click()
    expect(tile.locator(".said")).to_have_text("keep both")
    expect(tile.get_by_role("button", name="Keep both")).to_have_attribute("aria-pressed", "true")
    page.get_by_role("button", name="Undo").click()
    expect(tile.locator(".said")).to_have_text("duplicate")


def test_copies_are_filtered_by_their_kind_and_by_what_is_left_to_review(page: Page) -> None:
    page.get_by_role("button", name="cropped").click()
    expect(members(page)).to_have_count(1)
    expect(page.locator(".group:visible")).to_have_count(1)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("d")
    page.get_by_label("not reviewed").check()
    expect(page.locator("#none")).to_have_text("No copy is left that fits these filters.")
    page.get_by_role("button", name="all").click()
    expect(members(page)).to_have_count(4)


def test_what_differs_is_shown_on_hovering_and_by_a_key(page: Page) -> None:
    look = members(page).nth(1).locator(".look")
    differs = look.locator(".differs")
    expect(differs).to_have_css("opacity", "0")
    look.hover()
    expect(differs).to_have_css("opacity", "1")
    page.mouse.move(1, 1)
    expect(differs).to_have_css("opacity", "0")
    for _ in range(2):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("x")
    expect(differs).to_have_css("opacity", "1")
    assert members(page).nth(0).locator(".look").count() == 0, "exact copies differ in nothing"


def test_the_pictures_are_there_without_a_network_and_a_phone_never_scrolls_sideways(page: Page) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    assert page.evaluate("[...document.images].every((one) => one.complete && one.naturalWidth > 0)")
    assert page.evaluate("document.documentElement.scrollWidth") == 360


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out_from_what_is_behind_it(page: Page, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    page.keyboard.press("ArrowRight")
    for key in ("d", "n", "k"):
        page.keyboard.press(key)
    faint = page.evaluate(CONTRASTS)
    assert faint == [], "WCAG AA asks for 4.5"


# A function of the browser: texts whose contrast with the nearest opaque ground is below 4.5, with that contrast.
CONTRASTS = """() => {
  const parts = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => {
    const linear = [r, g, b].map((one) => one / 255).map((one) =>
      one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4);
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
  };
  const ground = (node) => {
    for (let one = node; one; one = one.parentElement) {
      const colour = parts(getComputedStyle(one).backgroundColor);
      if ((colour[3] ?? 1) === 1) return colour;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const node of document.querySelectorAll("body *:not(script):not(svg *)")) {
    const text = [...node.childNodes].some((one) => one.nodeType === 3 && one.textContent.trim());
    if (!text || node.closest("[hidden], .unseen, :disabled")) continue;
    const [one, other] = [light(parts(getComputedStyle(node).color)), light(ground(node))];
    const contrast = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    if (contrast < 4.5) found.push(`${node.textContent.slice(0, 30)}: ${contrast.toFixed(2)}`);
  }
  return found;
}"""
