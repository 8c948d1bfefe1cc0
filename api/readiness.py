"""Whether searches will be answered: everything loaded, and the store still reachable."""

import logging
import threading

from api.workspace import Workspace
from search.errors import LookalikeError

log = logging.getLogger(__name__)


class Readiness:
    """Loads indexes and backbones in the background, so that the first query is as fast as the next."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._reason: str | None = "starting"

    def start(self) -> None:
        """Begin to warm up; returns at once."""
        threading.Thread(target=self._warm_up, daemon=True).start()

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
        try:
            for target in self._workspace.store.catalogue.collections():
                self._reason = f"loading collection {target.name}"
                self._workspace.snapshot(target)
                self._workspace.embedder(target)
            self._reason = None
        except LookalikeError as error:
            log.warning("not ready: %s", error)
            self._reason = str(error)
