"""The web page in Chromium: how soon the first result of a dropped picture is seen, what moves on the way and what it
costs to transfer, and frames of a map while it moves.

    python -m bench.page [--images 10000] [--points 20000] [--rounds 7] [--json FILE]

The drop is one of a drawn picture on the start of a server of so many drawn pictures, until the first picture of a
result is on screen. Layout shift is the browser's own sum, from the address to the last result; transfer is what a
first visit receives until then, without thumbnails. The map is moved and zoomed for some seconds: milliseconds between
its frames, of which a screen of 60 Hz shows one in 16.7; an interaction is dropped where the next frame comes more than
50 ms after the last one (a long frame). Everything runs on this machine, the browser without a GPU.
"""

import argparse
import base64
import io
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Browser, Page, Response, Route, sync_playwright

from bench.reporting import heading, shown, write

FLAGS = ["--headless=new", "--no-sandbox", "--disable-gpu"]
SIDE = (160, 120)
DROP = """(data) => new Promise((resolve) => {
  const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
  const transfer = new DataTransfer();
  transfer.items.add(new File([bytes], "dropped.png", { type: "image/png" }));
  const began = performance.now();
  const look = () => {
    if (document.querySelector(".results .tile[data-id] img.loaded")) resolve(performance.now() - began);
    else requestAnimationFrame(look);
  };
  document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true }));
  look();
})"""
# Shifts of the layout that no key or finger caused.
WATCH_SHIFTS = """() => {
  window.shift = 0;
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.shift += entry.value;
  }).observe({ type: "layout-shift", buffered: true });
}"""
LONG_MS = 50.0
MOVE = """(seconds) => new Promise((resolve) => {
  const canvas = document.querySelector(".map-canvas");
  const [across, down] = [canvas.clientWidth / 2, canvas.clientHeight / 2];
  const frames = [];
  const began = performance.now();
  let last = began;
  const step = (now) => {
    frames.push(now - last);
    last = now;
    if (now - began > 1000 * seconds) return resolve(frames.slice(1));
    const at = { clientX: across, clientY: down, bubbles: true, cancelable: true };
    const deltaY = 40 * Math.sin((now - began) / 400);
    canvas.dispatchEvent(new WheelEvent("wheel", { ...at, deltaY }));
    canvas.dispatchEvent(new KeyboardEvent("keydown", { key: frames.length % 60 < 30 ? "ArrowLeft" : "ArrowRight" }));
    requestAnimationFrame(step);
  };
  requestAnimationFrame(step);
})"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--points", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as playwright:
        store = filled(Path(scratch), options.images)
        program = shutil.which("chromium") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS)
        with serving(store) as url:
            bytes_sent = transferred(browser, url)
            page = browser.new_page(base_url=url, viewport={"width": 1280, "height": 860})
            page.add_init_script(f"({WATCH_SHIFTS})()")
            drops, shifts = zip(*[dropped(page, number) for number in range(options.rounds + 1)][1:], strict=True)
            frames = moved(page, options.points, options.images)
        browser.close()
    print(heading(f"the web page, {options.images} images, {options.rounds} rounds, medians (lowest - highest)"))
    print(f"first result after a drop      {shown(drops, 0)} ms, layout shift {max(shifts):g} at most")
    print(f"a first visit with a search    {bytes_sent / 1000:.0f} kB without thumbnails")
    long = sum(frame > LONG_MS for frame in frames)
    print(f"map of {options.points} points, a frame  {np.median(frames):.1f} ms, 99 of 100 within ", end="")
    print(f"{np.quantile(frames, 0.99):.1f} ms, longest {max(frames):.1f}; {long} of {len(frames)} frames were long")
    found = {"drop_ms": list(drops), "layout_shift": list(shifts), "transfer_bytes": bytes_sent, "frame_ms": frames}
    write(found, options.json)


def picture(seed: int) -> Image.Image:
    """Soft colours, unlike those of other seeds."""
    small = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), np.uint8)
    return Image.fromarray(small).resize(SIDE, Image.Resampling.BICUBIC)


def filled(folder: Path, images: int) -> Path:
    """Index so many drawn pictures; return the store."""
    pictures = folder / "pictures"
    pictures.mkdir()
    for number in range(images):
        picture(number).save(pictures / f"{number:06}.jpg", quality=85)
    command = [sys.executable, "-m", "api", "--store", str(folder / "store"), "--progress", "none", "index"]
    subprocess.run([*command, str(pictures)], check=True, capture_output=True)
    return folder / "store"


@contextmanager
def serving(store: Path) -> Iterator[str]:
    """Serve a store with its own command, as users do; the address, once searches are answered."""
    command = [sys.executable, "-m", "api", "--store", str(store), "serve", "--port", "0"]
    server = subprocess.Popen(command, stderr=subprocess.STDOUT, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        found = re.search(r"http://\S+/", server.stdout.readline())
        if found is None:
            raise SystemExit("the server did not say where it listens")
        yield found[0]
    finally:
        server.terminate()
        server.wait()


def transferred(browser: Browser, url: str) -> int:
    """Return the bytes of a first visit with a search, headers included, without thumbnails."""
    context = browser.new_context(base_url=url)
    page = context.new_page()
    answers: list[Response] = []
    page.on("response", lambda one: answers.append(one))  # noqa: PLW0108 -- a method of a list cannot be marked
    dropped(page, 10**6)
    parts = [one.request.sizes() for one in answers if one.url.startswith("http") and "/thumbnail" not in one.url]
    context.close()
    return sum(part["responseBodySize"] + part["responseHeadersSize"] for part in parts)


def dropped(page: Page, seed: int) -> tuple[float, float]:
    """Drop a picture on the start; milliseconds until the first result is seen, and the layout shift until the last."""
    page.goto("about:blank")
    page.goto("/")
    page.locator(".samples img.loaded").first.wait_for(timeout=120_000)
    file = io.BytesIO()
    picture(seed).save(file, "PNG")
    took = page.evaluate(DROP, base64.b64encode(file.getvalue()).decode())
    # The look at the pixels that follows is none of the next round's business.
    time.sleep(1)
    page.locator(".results .note", has_text="looking at the pixels").wait_for(state="hidden", timeout=120_000)
    return float(took), float(page.evaluate("window.shift ?? 0"))


def moved(page: Page, points: int, images: int, seconds: float = 6.0) -> list[float]:
    """Move a map of so many points; milliseconds between its frames."""
    chance = np.random.default_rng(1)
    numbers = np.concatenate([[points], np.arange(points) % images + 1]).astype("<f8").tobytes()
    places = chance.uniform(0, 1, (points, 2)).astype("<f4").tobytes()

    def answer(route: Route) -> None:
        route.fulfill(body=numbers + places, content_type="application/octet-stream")

    page.route("**/map", answer)
    page.goto("/#/map")
    page.locator(".map-canvas").wait_for(timeout=60_000)
    page.wait_for_timeout(3000)
    return [float(frame) for frame in page.evaluate(MOVE, seconds)]


if __name__ == "__main__":
    main()
