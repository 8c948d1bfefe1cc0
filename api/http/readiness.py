"""Whether searches will be answered: everything loaded, and the store still reachable."""

import logging
import threading
from typing import Final

import numpy as np
import simplejpeg

from api.queries import QueryRequest
from api.workspace import Workspace
from search.errors import LookalikeError
from search.records import Collection

log = logging.getLogger(__name__)

RETRY_S = 10.0
STOP_S: Final = 15.0  # for what is being loaded: a process that ends in the middle of it is aborted by its libraries
ONE: Final = QueryRequest(k=1)


class Readiness:
    """Loads indexes and backbones in the background, and searches once, so that the first query is as fast as the next.

    A collection that cannot be loaded (its weights are gone) is tried again and again, and holds up no other: the
    server is ready when at least one collection is, or when there is none.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._reason: str | None = "starting"
        self._is_warm = False
        self._stopped = threading.Event()
        self._warming: threading.Thread | None = None

    def warm(self) -> None:
        """Load what can be loaded, before anybody asks."""
        self._is_warm = self._load_all()

    def start(self) -> None:
        """Begin to warm up; returns at once."""
        self._warming = threading.Thread(target=self._warm_up, daemon=True)
        self._warming.start()

    def stop(self) -> None:
        """Try no more; return when what is being loaded is there, or after STOP_S."""
        self._stopped.set()
        if self._warming is not None:
            self._warming.join(STOP_S)

    def reason(self) -> str | None:
        """Return why searches are not answered yet, None when they are."""
        if self._reason is not None:
            return self._reason
        try:
            self._workspace.store.catalogue.collections()
        except LookalikeError as error:
            return str(error)
        return None

    def _warm_up(self) -> None:
        while not self._stopped.is_set() and not self._is_warm:
            self._is_warm = self._load_all()
            if self._is_warm:
                return
            self._stopped.wait(RETRY_S)

    def _load_all(self) -> bool:
        """Load what can be loaded; return whether that was all."""
        failures: list[str] = []
        try:
            targets = self._workspace.store.catalogue.collections()
            for target in targets:
                if self._stopped.is_set():
                    return False
                if self._reason is not None:
                    self._reason = f"loading collection {target.name}"
                failures += self._load(target)
        except LookalikeError as error:
            targets, failures = [], [str(error)]
        self._reason = failures[0] if failures and len(failures) >= len(targets) else None
        return not failures

    def _load(self, target: Collection) -> list[str]:
        try:
            self._workspace.snapshot(target)
            if target.space.is_imported:
                self._search_by_stored(target)
            else:
                self._workspace.embedder(target)
                self._workspace.search_by_picture(target, drawn_picture(), "the warm-up", ONE)
        except Exception as error:  # noqa: BLE001 -- the outermost loop of this thread: a dead one would say "loading" for ever
            log.warning("collection %s cannot be searched by picture: %s", target.name, error)
            return [f"collection {target.name}: {error}"]
        return []

    def _search_by_stored(self, target: Collection) -> None:
        """Search a collection whose embeddings were made elsewhere, if it has any."""
        for image_id in self._workspace.snapshot(target).sample(1).tolist():
            image = self._workspace.store.catalogue.image_by_id(target.id, image_id)
            self._workspace.search_by_image(target, image, ONE)


def drawn_picture() -> bytes:
    """Return a JPEG that shows something: pixels by chance, always the same."""
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    encoded: bytes = simplejpeg.encode_jpeg(pixels)
    return encoded
