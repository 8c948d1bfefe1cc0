"""Two pictures laid over each other, with a slider between: what the server found out, seen on the page."""

import re

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.web_page import choose, drawing, picture_of, png

LOOKING_MS = 90_000  # the server looks at pixels


def seam(dialog: Locator) -> float:
    """Where the seam lies, in shares of the picture."""
    found = dialog.locator(".compared").evaluate(
        "(frame) => (frame.querySelector('.seam').getBoundingClientRect().x - frame.getBoundingClientRect().x)"
        " / frame.clientWidth"
    )
    return float(found)


def covered(dialog: Locator) -> float:
    """How much of the width the overlay leaves to be seen, by what it clips."""
    clip = dialog.locator(".over").evaluate("(over) => getComputedStyle(over).clipPath")
    right = re.search(r"inset\(0(?:px)? calc\(([\d.]+)% - ([\d.]+)%\)|inset\(0(?:px)? ([\d.]+)%", clip)
    assert right is not None, clip
    return 1 - (float(right[3]) if right[3] else float(right[1]) - float(right[2])) / 100


def place(dialog: Locator) -> list[float]:
    """Where the overlay lies on the stored picture: left, top and width in shares of it."""
    found = dialog.locator(".compared").evaluate(
        """(frame) => {
          const [under, over] = [frame, frame.querySelector("canvas")].map((one) => one.getBoundingClientRect());
          return [(over.x - under.x) / under.width, (over.y - under.y) / under.height, over.width / under.width];
        }"""
    )
    return [float(share) for share in found]


def test_the_overlay_lies_where_it_was_cut_and_is_dragged_and_moved_by_arrow_keys(page: Page) -> None:
    page.goto("/")
    part = drawing(20).crop((40, 30, 240, 210))  # of 288 x 240
    choose(page, "part.png", png(part))
    expect(page.locator(".badge.same_picture").first).to_be_visible(timeout=LOOKING_MS)
    tile = page.locator(".tile", has_text="drawing 20.png")
    tile.get_by_role("button", name="Look closer").click()
    dialog = page.get_by_role("dialog", name="drawing 20.png")
    dialog.get_by_role("button", name="Compare by slider").click()
    slider = dialog.get_by_role("slider", name="How much of your picture lies over it")
    expect(slider).to_be_visible(timeout=LOOKING_MS)
    assert abs(covered(dialog) - 0.5) < 0.01
    assert place(dialog) == pytest.approx([40 / 288, 30 / 240, 200 / 288], abs=0.02)
    picture_of(page, "comparison")
    slider.focus()
    for _ in range(10):
        page.keyboard.press("ArrowRight")
    expect(dialog).to_be_visible()  # the arrow keys are the slider's here, and lead to no other image
    expect(slider).to_have_value("60")
    while abs(covered(dialog) - 0.6) >= 0.01:  # it is drawn at the next frame; pytest-timeout ends a wait in vain
        page.wait_for_timeout(20)
    assert abs(seam(dialog) - 0.6) < 0.02
    box = slider.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 0.6 * box["width"], box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.2 * box["width"], box["y"] + box["height"] / 2, steps=6)
    page.mouse.up()
    assert abs(covered(dialog) - 0.2) < 0.06
    assert abs(seam(dialog) - covered(dialog)) < 0.02
