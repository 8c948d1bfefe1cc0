"""The map: images that look alike lie together; from there to a closer look, and to a search."""

import re

from playwright.sync_api import Page, expect

from tests.web_page import INDEXED, picture_of, tiles

MIDDLE = "Images in the middle of the map"
# How many colours the canvas shows: pictures have many, dots only one.
COLOURS = """() => {
  const canvas = document.querySelector(".map-canvas");
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  return new Set(new Uint32Array(data.buffer)).size;
}"""


def shown_map(page: Page) -> None:
    page.goto("/#/map/default")
    expect(page.locator(".map-canvas")).to_be_visible()
    expect(page.locator(".note")).to_have_text(f"{INDEXED} images: those that look alike lie together")
    expect(tiles(page)).to_have_count(12)


def test_from_the_map_to_a_search(page: Page) -> None:
    shown_map(page)
    canvas = page.locator(".map-canvas")
    canvas.focus()
    page.keyboard.press("+")
    page.keyboard.press("+")
    canvas.hover()
    page.mouse.wheel(0, -400)
    expect(tiles(page)).to_have_count(12)
    page.wait_for_function(f"() => ({COLOURS})() > 100")
    picture_of(page, "map")
    canvas.focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    name = dialog.get_by_role("heading", level=2).inner_text()
    dialog.get_by_role("link", name="Search from this image").click()
    expect(page.locator(".query .name")).to_have_text(name)
    page.go_back()
    expect(page.locator(".map-canvas")).to_be_visible()


def test_a_click_on_a_picture_of_the_map_looks_closer_at_it(page: Page) -> None:
    shown_map(page)
    page.wait_for_timeout(500)
    place = page.evaluate(
        """async () => {
          const canvas = document.querySelector(".map-canvas");
          const { MapPoints } = await import("/page/map_points.js");
          const headers = { Accept: "application/octet-stream" };
          const answer = await fetch("/v1/collections/default/map", { headers });
          const points = new MapPoints(await answer.arrayBuffer());
          const scale = Math.min(canvas.clientWidth, canvas.clientHeight) - 64;
          const [at] = points.nearest(0.5, 0.5, 1);
          const { left, top } = canvas.getBoundingClientRect();
          const x = left + canvas.clientWidth / 2 + (points.x(at) - 0.5) * scale;
          return { x, y: top + canvas.clientHeight / 2 + (points.y(at) - 0.5) * scale };
        }"""
    )
    page.mouse.click(place["x"], place["y"])
    expect(page.get_by_role("dialog")).to_be_visible()


def test_the_map_has_its_images_as_links_below_which_follow_it(page: Page) -> None:
    shown_map(page)
    listed = page.get_by_role("list", name=MIDDLE)
    before = listed.locator(".name").all_inner_texts()
    page.locator(".map-canvas").focus()
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    expect(listed.locator(".name").first).not_to_have_text(before[0])
    listed.locator(".face").first.click()
    expect(page).to_have_url(re.compile(r"#/search/default/\d+$"))


def test_however_far_one_goes_a_point_stays_in_sight(page: Page) -> None:
    shown_map(page)
    canvas = page.locator(".map-canvas")
    canvas.hover()
    for _ in range(20):
        page.mouse.wheel(0, -900)
    canvas.focus()
    for _ in range(40):
        page.keyboard.press("ArrowRight")
    page.wait_for_timeout(100)  # for the frame that draws it
    assert page.evaluate(COLOURS) > 1


def test_a_few_images_make_no_map(page: Page) -> None:
    page.route("**/v1/collections", lambda route: route.fulfill(json=_with_images(route.fetch().json(), 2)))
    page.goto("/#/map/few")
    expect(page.get_by_role("heading", name="A map needs more images")).to_be_visible()


def test_while_the_map_is_made_the_page_says_how_far_it_is(page: Page) -> None:
    answers = iter([{"state": "making", "done": 0.25}])

    def progress(route) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
        answer = next(answers, None)
        if answer is None:
            route.continue_()
        else:
            route.fulfill(status=202, json=answer)

    page.route("**/map", progress)
    page.goto("/#/map/default")
    expect(page.get_by_role("progressbar", name="How much of the map is done")).to_have_attribute("value", "0.25")
    expect(page.locator(".map-canvas")).to_be_visible()


def _with_images(answer: dict[str, list[dict[str, object]]], images: int) -> dict[str, list[dict[str, object]]]:
    return {**answer, "items": [{**one, "images": images} for one in answer["items"]]}
