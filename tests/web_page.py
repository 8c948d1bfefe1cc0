"""The web page, driven in a real browser: the pictures it shows, what is seen there, and what a page must never do."""

import io
import os
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image
from playwright.sync_api import ConsoleMessage, Dialog, Locator, Page, expect

from tests.conftest import painted

HOSTILE = "<img src=x onerror=alert(1)>.png"
FOREIGN = "Größe – 写真 ночь.png"
PLAIN = 46
INDEXED = PLAIN + 5
NAMED = INDEXED + 3 + 1  # the first id of the third collection
WIDE = NAMED + 30  # of the fourth
WIDTHS = (100, 200, 300, 400, 500)
# A function of the browser: a PNG file of base64 text.
AS_FILE = """(data) => {
  const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
  return new File([bytes], "picture.png", { type: "image/png" });
}"""
expect.set_options(timeout=15_000)


def drawing(seed: int) -> Image.Image:
    """A picture unlike those of other seeds."""
    return painted(seed, (288, 240))


def png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


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


def picture_of(page: Page, name: str) -> None:
    """Keep what the browser shows, for people who look at the pictures of a test run."""
    folder = os.environ.get("LOOKALIKE_PAGE_PICTURES")
    if folder:
        page.screenshot(path=Path(folder) / f"{name}.png", animations="disabled")


def tiles(page: Page) -> Locator:
    return page.locator("main .tile[data-id]")


def names(page: Page) -> list[str]:
    return page.locator("main .tile[data-id] .name").all_inner_texts()


def choose(page: Page, name: str, data: bytes) -> None:
    page.locator("main input[type=file]:not([capture])").set_input_files(
        {"name": name, "mimeType": "image/png", "buffer": data}
    )


def expect_found_itself(page: Page, name: str) -> None:
    expect(page.get_by_role("heading", level=1)).to_have_text("1 identical image")
    first = tiles(page).first
    expect(first.locator(".name")).to_have_text(name)
    expect(first.locator(".score")).to_have_text("1.000")
    expect(first.locator(".badge")).to_have_text("identical")
    expect(first.locator("img.loaded")).to_be_visible()
