"""A real browser before a real server on a small store of generated pictures; one of each for all these journeys."""

import shutil
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path

import httpx2
import pytest
import uvicorn
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from api.cli import main
from api.http.access import Gate, OpenGate
from api.http.app import Parts, create_app
from api.http.readiness import Readiness
from api.http.safe_fetch import Fetch, FetchNothing, SafeFetch
from api.http.thumbnails import Thumbnails
from api.jobs.runner import JobRunner
from api.jobs.supervising import Launch
from api.workspace import Workspace
from indexer.backbones.backbones import BUILTIN_PREPARATION
from indexer.decoding.decoder_pool import DecoderPool
from search.records import Embeddings, Label
from tests.conftest import painted, skip
from tests.dedup_jobs import look_for_duplicates
from tests.fakes import ColourLabeller
from tests.web_page import FOREIGN, HOSTILE, PLAIN, WIDTHS, Watch, drawing

FETCH_NOTHING = FetchNothing()
# What Chromium makes for people and no page shows: a web page under the address bar alone costs each new page .6 s.
# This list takes the place of the one that Playwright gives, which is repeated in it.
NOT_WANTED = (
    "WebUIOmniboxPopup",
    "WebUIOmniboxAimPopup",
    "AimEnabled",
    "AvoidCorsURLLoaderRestartOnRedirect",
    "HttpsFirstBalancedModeAutoEnable",
    "HttpsUpgrades",
    "LensOverlay",
    "MediaRouter",
    "NetworkTimeServiceQuerying",
    "OptimizationHints",
    "PaintHolding",
    "PreconnectToSearch",
    "ThirdPartyStoragePartitioning",
)
FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    f"--disable-features={','.join(NOT_WANTED)}",
]


class FirstLabels(ColourLabeller):
    """Only the most probable of the three labels."""

    def labels(self, raw: Embeddings) -> list[tuple[Label, ...]]:
        return [found[:1] for found in super().labels(raw)]


@pytest.fixture(scope="package")
def chromium() -> str:
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    skip("Chromium is not installed")
    raise AssertionError


@pytest.fixture(scope="package")
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


@pytest.fixture(scope="package")
def served(chromium: str, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with the collections `default`, `few`, `named`, whose images have labels, and `wide`.

    chromium: without it none is made.
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
    wide = tmp_path_factory.mktemp("wide")
    for width in WIDTHS:
        painted(width, (width, 120)).save(wide / f"wide {width}.png")
    with pytest.raises(SystemExit, match="0"):
        main([*options, "--collection", "wide", "index", str(wide)])
    look_for_duplicates(store, calibrate=False)
    return store


@pytest.fixture(scope="package")
def url(served: Path) -> Iterator[str]:
    """The address of a server of that store, which would fetch pictures from the web, and finds none there."""
    fetch = SafeFetch(resolve=nobody_known)
    with Workspace(served) as workspace, serving(workspace, OpenGate(), fetch) as address:
        yield address


async def nobody_known(_host: str, _port: int) -> list[str]:
    return []


@contextmanager
def serving(workspace: Workspace, gate: Gate, fetch: Fetch = FETCH_NOTHING) -> Iterator[str]:
    """Serve a store; the address."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        DecoderPool(BUILTIN_PREPARATION, children=1) as pool,
        ThreadPoolExecutor(1) as thread,
        JobRunner(workspace.store.database, Launch(workspace.store.root)) as runner,
    ):
        parts = Parts(workspace, Thumbnails(pool), Readiness(workspace), ("127.0.0.1",), gate=gate, wake=runner.wake)
        parts = replace(parts, fetch=fetch)
        server = uvicorn.Server(uvicorn.Config(create_app(parts), log_level="warning"))
        running = thread.submit(server.run, [listening])
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        # Until then pages ask again and again, and the browser prints an error for each 503.
        while httpx2.get(f"{address}/readyz", timeout=60).status_code == HTTPStatus.SERVICE_UNAVAILABLE:
            time.sleep(0.05)
        yield address
        server.should_exit = True
        running.result()


@pytest.fixture(scope="package")
def browser(chromium: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="package")
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
