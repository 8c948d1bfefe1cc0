"""The duplicates view."""

import re
from importlib.resources import files

from playwright.sync_api import Page, expect

from api.duplicate_report.page import KINDS
from tests.web_page import INDEXED, Watch, picture_of

LOOKING_MS = 60_000  # a job of the server, in a process of its own


def test_the_duplicates_tab_lists_the_planted_group(page: Page) -> None:
    page.goto("/")
    page.get_by_role("link", name="Duplicates").click()
    group = page.locator(".group", has_text="original.png")
    expect(group.get_by_role("heading")).to_have_text("2 copies")
    expect(group.locator(".keeper .name")).to_have_text("original.png")
    expect(group.locator(".keeper .badge")).to_have_text("keep")
    expect(group.locator(".tile", has_text="same bytes.png").locator(".badge")).to_have_text("same bytes")
    expect(group.locator(".tile", has_text="smaller.jpg").locator(".score")).to_have_text(re.compile(r"^(0\.\d|1\.0)"))
    expect(page.locator(".totals dt")).to_have_text(["group", "copies", "reclaimable", "images compared"])
    expect(page.locator(".totals dd")).to_have_text(["1", "2", re.compile(r"^[\d.]+ KiB$"), str(INDEXED)])
    expect(page.get_by_text("No file is changed here.")).to_be_visible()


def test_a_higher_threshold_asks_for_surer_groups_and_is_part_of_the_address(page: Page) -> None:
    page.goto("/#/duplicates/default")
    expect(page.locator(".group .tile")).to_have_count(3)
    page.get_by_label("Least score of a near copy, as a number").fill("1")
    expect(page.locator(".group .tile")).to_have_count(2, timeout=LOOKING_MS)
    expect(page).to_have_url(re.compile(r"#/duplicates/default\?threshold=1$"))
    page.reload()
    expect(page.locator(".group .tile")).to_have_count(2)
    page.get_by_role("button", name="Default").click()
    expect(page.locator(".group .tile")).to_have_count(3, timeout=LOOKING_MS)
    expect(page).to_have_url(re.compile(r"#/duplicates/default$"))


def test_the_scores_of_near_copies_are_drawn_beside_the_threshold(page: Page) -> None:
    page.goto("/#/duplicates/default")
    drawing = page.locator(".threshold .histogram")
    expect(drawing.locator("figcaption")).to_have_text(
        re.compile(r"^Scores of 1 near copy, from (0\.\d{3}|1\.000) to ")
    )
    expect(drawing.locator("rect")).to_have_count(1)
    expect(drawing.locator("rect title")).to_have_text(re.compile(r"^0\.\d\d to (0\.\d\d|1\.00): 1$"))
    expect(drawing.locator(".limit-name")).to_have_text(re.compile(r"^threshold 0\.\d\d$"))


def test_copies_of_one_kind_are_shown_alone_and_the_server_filters(page: Page) -> None:
    page.goto("/#/duplicates/default")
    chips = page.get_by_role("group", name="Show copies of one kind").get_by_role("button")
    expect(chips).to_have_text(["all2", "same bytes1", "resized1"])
    with page.expect_request(re.compile(r"/groups\?kind=same_bytes&limit=")):
        chips.nth(1).click()
    copies = page.locator(".group .tile:not(.keeper) .name")
    expect(copies).to_have_text(["same bytes.png"])
    expect(chips.nth(1)).to_be_focused()
    expect(chips.nth(1)).to_have_attribute("aria-pressed", "true")
    chips.nth(2).press("Enter")
    expect(copies).to_have_text(["smaller.jpg"])
    expect(page.locator(".totals dd").nth(1)).to_have_text("2")  # of the whole report
    expect(page).to_have_url(re.compile(r"#/duplicates/default\?kind=resized$"))
    page.reload()
    expect(copies).to_have_text(["smaller.jpg"])
    expect(chips.nth(2)).to_have_attribute("aria-pressed", "true")
    chips.first.click()
    expect(copies).to_have_count(2)
    expect(page).to_have_url(re.compile(r"#/duplicates/default$"))
    page.go_back()
    expect(copies).to_have_text(["smaller.jpg"])
    expect(chips.nth(2)).to_have_attribute("aria-pressed", "true")


def test_copies_that_nobody_has_reviewed_are_shown_alone(page: Page) -> None:
    page.goto("/#/duplicates/default")
    copies = page.locator(".group .tile:not(.keeper) .name")
    expect(copies).to_have_count(2)
    page.get_by_label("not reviewed").check()
    expect(copies).to_have_text(["smaller.jpg"])  # copies of the same bytes are not asked about
    expect(page).to_have_url(re.compile(r"reviewed=false$"))
    smaller = page.locator(".tile", has_text="smaller.jpg")
    with page.expect_response(lambda answer: answer.url.endswith("/verdicts")):
        smaller.get_by_role("button", name="Duplicate", exact=True).click()
    page.reload()
    expect(page.get_by_text("Everything has been reviewed that fits this.")).to_be_visible()
    expect(page.get_by_label("not reviewed")).to_be_checked()
    page.get_by_label("not reviewed").uncheck()
    expect(smaller.locator(".said")).to_have_text("duplicate")
    (said,) = page.request.get("/v1/collections/default/verdicts").json()["items"]
    page.request.delete(f"/v1/collections/default/verdicts/{said['first']}/{said['second']}")


def test_on_a_phone_all_tiles_of_a_group_are_of_one_height(page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto("/#/duplicates/default")
    expect(page.locator(".group .tile[data-id]")).to_have_count(3)
    picture_of(page, "duplicates-phone")
    boxes = [tile.bounding_box() for tile in page.locator(".group .tile").all()]
    heights = {round(box["height"]) for box in boxes if box is not None}
    assert len(heights) == 1


def test_what_differs_is_shown_on_hovering_by_x_and_by_a_button(page: Page) -> None:
    page.goto("/#/duplicates/default")
    smaller = page.locator(".tile", has_text="smaller.jpg")
    differs = smaller.locator("img.differs.loaded")
    assert page.locator(".tile", has_text="same bytes.png").locator("[data-compare]").count() == 0
    with page.expect_response(re.compile(r"/images/\d+/difference\?keeper=\d+$")) as answered:
        smaller.locator(".face").hover()
    assert answered.value.headers["content-type"] == "image/jpeg"
    expect(differs).to_have_css("opacity", "1")
    page.get_by_role("heading", level=1).hover()
    expect(differs).to_have_css("opacity", "0")
    height = "(tile) => tile.offsetHeight"
    before = smaller.evaluate(height)
    smaller.locator(".face").focus()
    page.keyboard.press("x")
    expect(differs).to_have_css("opacity", "1")
    assert smaller.evaluate(height) == before
    smaller.get_by_role("button", name="What differs").click()
    expect(differs).to_have_css("opacity", "0")
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_what_differs_is_asked_for_again_where_it_could_not_be_shown(page: Page, watch: Watch) -> None:
    watch.expected = ("Failed to load resource",)
    page.route("**/difference*", lambda route: route.fulfill(status=503), times=1)
    page.goto("/#/duplicates/default")
    smaller = page.locator(".tile", has_text="smaller.jpg")
    button = smaller.get_by_role("button", name="What differs")
    button.click()
    expect(page.locator("#status")).to_have_text(re.compile("^What differs cannot be shown"))
    expect(smaller.locator(".differs")).to_have_count(0)
    button.click()
    button.click()
    expect(smaller.locator("img.differs.loaded")).to_have_css("opacity", "1")


def test_the_page_names_kinds_as_the_report_that_is_a_file() -> None:
    words = (files("api") / "page" / "words.js").read_text("utf-8")
    found = re.search(r"export const KINDS = \{\n(.*?)\};", words, re.DOTALL)
    assert found is not None
    assert dict(re.findall(r'(\w+): "(.*?)",', found[1])) == KINDS


def said_on_the_server(page: Page) -> list[str]:
    return [item["verdict"] for item in page.request.get("/v1/collections/default/verdicts").json()["items"]]


def test_copies_are_reviewed_with_the_keyboard_and_each_verdict_is_sent(page: Page) -> None:
    page.goto("/#/duplicates/default")
    smaller = page.locator(".tile", has_text="smaller.jpg")
    page.locator(".tile[data-second] .face").first.wait_for()
    assert page.locator(".tile", has_text="same bytes.png").locator("[data-say]").count() == 0
    page.keyboard.press("ArrowRight")
    expect(smaller.locator(".face")).to_be_focused()
    with page.expect_response(lambda answer: answer.url.endswith("/verdicts")):
        page.keyboard.press("k")
    expect(smaller.locator(".said")).to_have_text("keep both")
    assert said_on_the_server(page) == ["keep_both"]
    with page.expect_response(lambda answer: answer.url.endswith("/verdicts")):
        smaller.get_by_role("button", name="Not a duplicate").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert said_on_the_server(page) == ["not_duplicate"]
    for left in (["keep_both"], []):
        with page.expect_response(lambda answer: "/verdicts" in answer.url):
            page.keyboard.press("u")
        assert said_on_the_server(page) == left
    expect(smaller.locator(".said")).to_have_text("")
    page.keyboard.press("u")
    expect(page.locator("#status")).to_have_text("Nothing to undo")


def test_a_verdict_that_was_not_written_down_says_so(page: Page, watch: Watch) -> None:
    watch.expected = ("Failed to load resource",)
    page.route("**/verdicts", lambda route: route.fulfill(status=503, json={"detail": "the disk is full"}))
    page.goto("/#/duplicates/default")
    smaller = page.locator(".tile", has_text="smaller.jpg")
    smaller.get_by_role("button", name="Duplicate", exact=True).click()
    expect(smaller).to_have_class(re.compile("unsent"))
    expect(page.locator("#notices")).to_contain_text("the disk is full")
