"""A map that a server is making: how far it is, and for how long to wait; the same for both clients."""

import time
from typing import Final

from api.client.errors import WaitTimedOut
from api.client.views import CollectionMap, Made
from api.shapes.views import MapProgress

PAUSE_S: Final = 1.0


class Making:
    """The wait for one map. progress: is told the share of it that is made."""

    def __init__(self, progress: Made | None, timeout_s: float | None) -> None:
        self._progress = progress or (lambda _done: None)
        self._until = None if timeout_s is None else time.monotonic() + timeout_s
        self.pause_s = PAUSE_S

    def made(self, told: CollectionMap | MapProgress) -> CollectionMap | None:
        """Return the map, None where it is worth asking again after `pause_s`.

        Raises:
            WaitTimedOut: the time is up.
        """
        if isinstance(told, CollectionMap):
            return told
        self._progress(told.done)
        left = float("inf") if self._until is None else self._until - time.monotonic()
        if left <= 0:
            raise WaitTimedOut(f"the map is still being made ({100 * told.done:.0f} %); ask for it again")
        self.pause_s = min(PAUSE_S, left)
        return None
