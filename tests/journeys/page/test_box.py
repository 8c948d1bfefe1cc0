"""A part of the picture: drawn with the mouse or moved by keys, part of the address, of pictures sent and stored."""

import re

from PIL import Image
from playwright.sync_api import Page, expect

from tests.web_page import choose, drawing, picture_of, png, tiles


def beside(left: int, right: int) -> Image.Image:
    """Two drawings side by side."""
    both = Image.new("RGB", (576, 240))
    both.paste(drawing(left), (0, 0))
    both.paste(drawing(right), (288, 0))
    return both


def draw(page: Page, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Drag over the picture from one place to another, in shares of it."""
    place = page.locator(".box-layer").bounding_box()
    assert place is not None
    for number, (x, y) in enumerate((start, end)):
        page.mouse.move(place["x"] + x * place["width"], place["y"] + y * place["height"], steps=4)
        if number == 0:
            page.mouse.down()
    page.mouse.up()


def test_a_box_drawn_on_the_picture_searches_for_what_is_in_it(page: Page) -> None:
    page.goto("/")
    choose(page, "two.png", png(beside(13, 14)))
    expect(page.locator(".note")).to_contain_text("ms")
    draw(page, (0.5, 0.0), (0.999, 0.999))
    expect(tiles(page).first.locator(".name")).to_have_text("drawing 14.png")
    expect(page).to_have_url(re.compile("box=0.5"))
    picture_of(page, "box")
    draw(page, (0.0, 0.0), (0.499, 0.999))
    expect(tiles(page).first.locator(".name")).to_have_text("drawing 13.png")
    page.get_by_role("button", name="Search all of it").click()
    expect(page).not_to_have_url(re.compile("box="))


def test_a_box_is_moved_and_resized_by_keys(page: Page) -> None:
    page.goto("/")
    choose(page, "two.png", png(beside(15, 16)))
    page.get_by_role("button", name="Search a part of it").click()
    box = page.get_by_role("group", name=re.compile("Searched part: 25–75 % across, 25–75 % down"))
    expect(box).to_be_focused()
    for _ in range(30):
        page.keyboard.press("Shift+ArrowDown")
    for _ in range(20):
        page.keyboard.press("ArrowRight")
    expect(page.get_by_role("group", name=re.compile("Searched part: 50–100 % across, 25–100 % down"))).to_be_focused()
    page.keyboard.press("Enter")
    expect(tiles(page).first.locator(".name")).to_have_text("drawing 16.png")
    page.keyboard.press("Delete")
    expect(page).not_to_have_url(re.compile("box="))


def test_a_part_of_a_stored_image_can_be_searched_for_and_survives_a_reload(page: Page) -> None:
    page.goto("/#/search/default/1?box=0.1,0.1,0.8,0.8")
    name = page.locator(".query .name").inner_text()
    for _ in range(2):
        expect(page.get_by_role("group", name=re.compile("Searched part: 10–90 %"))).to_be_visible()
        expect(tiles(page).first.locator(".name")).to_have_text(name)
        expect(tiles(page).first.locator(".score")).not_to_have_text("1.000")
        page.reload()


def test_several_pictures_are_one_query(page: Page) -> None:
    page.goto("/")
    chooser = page.locator("main input[type=file]:not([capture])")
    files = [{"name": f"{n}.png", "mimeType": "image/png", "buffer": png(drawing(n))} for n in (17, 18)]
    chooser.set_input_files(files)  # type: ignore[arg-type]
    expect(page.locator(".query .name")).to_have_text("17.png and 1 more")
    expect(page.locator(".query-picture img")).to_have_count(2)
    expect(tiles(page).nth(1)).to_be_visible()
    assert {"drawing 17.png", "drawing 18.png"} == set(page.locator(".tile .name").all_inner_texts()[:2])


def test_a_picture_on_the_web_is_asked_for_by_its_address(page: Page) -> None:
    asked: list[object] = []
    answer = {"query": {"url": "x"}, "matches": [], "took_ms": {"total": 3}}

    def note(route, request) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
        asked.append(request.post_data_json)
        route.fulfill(json=answer)

    page.route("**/search", note)
    page.goto("/")
    address = page.get_by_label("Address of a picture on the web")
    address.fill("cat.jpg")
    page.keyboard.press("Enter")
    expect(page.get_by_text("An address begins with https://")).to_be_visible()
    address.fill("https://example.org/a%20cat.jpg")
    page.keyboard.press("Enter")
    expect(page.locator(".query .name")).to_have_text("a%20cat.jpg")
    assert asked[0] == {"url": "https://example.org/a%20cat.jpg", "k": 24}
