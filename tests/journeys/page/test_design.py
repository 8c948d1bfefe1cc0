"""What holds in every view, light and dark, large and small: readable, named, without jumps, small, as it was left."""

import gzip
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Response, ViewportSize, expect

from api.http.page_files import PAGE
from tests.web_page import NAMED, Watch, choose, drawing, expect_found_itself, picture_of, png, tiles

AXE = files("axe_playwright_python").joinpath("axe.min.js").read_text("utf-8")
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
MOST_BYTES = 300_000
# Each view, and what is on screen once all of it is there.
VIEWS = {
    "start": ("/#/", ".samples img.loaded >> nth=0"),
    "results": (f"/#/search/named/{NAMED}?box=.2,.2,.5,.5", ".results img.loaded >> nth=3"),
    "browse": ("/#/browse/named", ".browse img.loaded >> nth=3"),
    "map": ("/#/map/default", ".in-the-middle .tile[data-id] >> nth=3"),
    "duplicates": ("/#/duplicates/default", ".group .tile[data-id] >> nth=1"),
    "plans": ("/#/plans/default", ".plan-row"),
    "plan": ("/#/plans/default/{plan}", ".plan-groups .tile[data-id] >> nth=1"),
    "status": ("/#/status/default", ".card dl >> nth=0"),
    "jobs": ("/#/jobs/wide", ".teach"),
    "failures": ("/#/failures/default", ".teach"),
    "nowhere": ("/#/nosuch", ".ways"),
}
# Shifts that nobody's finger or key caused: the sum that browsers call the cumulative layout shift.
WATCH_SHIFTS = """() => {
  window.shifts = [];
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) {
      if (!entry.hadRecentInput) window.shifts.push([entry.value, ...entry.sources.map((one) => one.node?.className)]);
    }
  }).observe({ type: "layout-shift", buffered: true });
}"""


@pytest.fixture(params=["light", "dark"])
def coloured(browser: Browser, url: str, watch: Watch, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A page of a phone in the dark, and of a desk in the light: every view is looked at in both."""
    small = request.param == "dark"
    size = ViewportSize(width=390, height=844) if small else ViewportSize(width=1280, height=860)
    context = browser.new_context(
        base_url=url, viewport=size, color_scheme=request.param, has_touch=small, reduced_motion="reduce"
    )
    page = context.new_page()
    watch.follow(page)
    yield page
    context.close()
    assert watch.complaints == []


def violations(page: Page) -> list[str]:
    """What axe finds: rules that are broken, and where."""
    page.evaluate(AXE)
    found: dict[str, Any] = page.evaluate("(rules) => axe.run({ runOnly: rules, resultTypes: ['violations'] })", RULES)
    return [
        f"{rule['id']}: {node['html'][:120]} {node.get('failureSummary', '')[:240]}"
        for rule in found["violations"]
        for node in rule["nodes"]
    ]


def test_every_view_is_accessible_in_both_colours_and_nothing_in_it_jumps(coloured: Page) -> None:
    coloured.add_init_script(f"({WATCH_SHIFTS})()")
    phone = coloured.viewport_size == {"width": 390, "height": 844}
    plan = coloured.request.get("/v1/collections/default/plans").json()["items"][0]["id"]
    for name, (address, shown) in VIEWS.items():
        coloured.goto("about:blank")
        coloured.goto(address.format(plan=plan))
        coloured.locator(shown).wait_for()
        coloured.wait_for_timeout(300)  # for what would jump
        picture_of(coloured, f"{name}-{'phone-dark' if phone else 'desk-light'}")
        assert violations(coloured) == [], name
        assert coloured.evaluate("window.shifts") == [], name
        width = coloured.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert width[0] == width[1], f"{name} scrolls sideways"
        if not phone:
            coloured.evaluate("document.documentElement.style.fontSize = '200%'")
            width = coloured.evaluate("[document.documentElement.scrollWidth, innerWidth]")
            assert width[0] == width[1], f"{name} scrolls sideways where text is twice as large"


def test_the_closer_look_is_accessible(coloured: Page) -> None:
    coloured.goto("/#/duplicates/default")
    coloured.get_by_role("button", name="Look closer at").first.click()
    expect(coloured.get_by_role("dialog")).to_be_visible()
    picture_of(coloured, f"large-{coloured.evaluate('innerWidth')}")
    assert violations(coloured) == []


def test_a_first_search_costs_less_than_300_kB_without_the_pictures(browser: Browser, url: str) -> None:
    context = browser.new_context(base_url=url)
    page = context.new_page()
    sent: list[tuple[str, int]] = []

    def note(answer: Response) -> None:
        if "/thumbnail" not in answer.url and answer.url.startswith("http"):
            sizes = answer.request.sizes()
            sent.append((answer.url, sizes["responseBodySize"] + sizes["responseHeadersSize"]))

    page.on("response", note)
    page.goto("/")
    expect(tiles(page)).to_have_count(12)
    choose(page, "mine.png", png(drawing(7)))
    expect_found_itself(page, "drawing 07.png")
    assert sum(size for _, size in sent) < MOST_BYTES, sorted(sent, key=lambda one: -one[1])[:5]
    context.close()


def test_all_files_of_the_page_together_are_small() -> None:
    folder = files("api") / "page"
    assert sum(len(gzip.compress((folder / name).read_bytes())) for name in PAGE) < MOST_BYTES / 2


def test_the_colours_are_switched_kept_and_follow_the_system_again(browser: Browser, url: str, watch: Watch) -> None:
    context = browser.new_context(base_url=url, color_scheme="light", viewport={"width": 1280, "height": 860})
    page = context.new_page()
    watch.follow(page)
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    page.goto("/")
    light = page.evaluate(ground)
    switch = page.locator(".theme")
    expect(switch).to_have_attribute("aria-label", "Colours as the system wishes. Change to: light colours")
    switch.click()
    assert page.evaluate(ground) == light
    switch.click()
    dark = page.evaluate(ground)
    assert dark != light
    page.reload()
    assert page.evaluate(ground) == dark
    expect(tiles(page)).to_have_count(12)
    picture_of(page, "start-dark")
    page.get_by_role("button", name="Dark colours").click()
    page.emulate_media(color_scheme="dark")
    assert page.evaluate(ground) == dark
    page.emulate_media(color_scheme="light")
    assert page.evaluate(ground) == light
    assert watch.complaints == []
    context.close()
