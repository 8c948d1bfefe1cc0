"""Who sends wrong keys again and again is told to wait, without another look at the catalogue.

Keys cannot be guessed; but looking each of them up costs. Keys that opened something lately are let through all the
same, so that one bad program behind a proxy shuts nobody else out. Known in this process alone, and for a while.
"""

import hashlib
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

MOST: Final = 100  # wrong keys of one address
WITHIN_S: Final = 60.0
KEPT: Final = 10_000  # addresses, and keys that opened something


class WrongKeys:
    """Counts wrong keys by address. Thread-safe. now: a clock."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._wrong: OrderedDict[str, tuple[float, int]] = OrderedDict()  # since when, and how many
        self._right: OrderedDict[bytes, None] = OrderedDict()

    def retry_after_s(self, address: str, authorization: str) -> int:
        """Return in how many seconds a key of this address is looked at again; 0: now."""
        with self._lock:
            began, wrong = self._wrong.get(address, (0.0, 0))
            left = began + WITHIN_S - self._now()
            if wrong < MOST or left <= 0 or _name(authorization) in self._right:
                return 0
            return math.ceil(left)

    def wrong(self, address: str, authorization: str) -> None:
        """Remember that a key opened nothing."""
        with self._lock:
            self._right.pop(_name(authorization), None)
            began, wrong = self._wrong.pop(address, (self._now(), 0))
            if began + WITHIN_S <= self._now():
                began, wrong = self._now(), 0
            self._wrong[address] = (began, wrong + 1)
            if len(self._wrong) > KEPT:
                self._wrong.popitem(last=False)

    def right(self, authorization: str) -> None:
        """Remember that a key opened something."""
        name = _name(authorization)
        with self._lock:
            self._right.pop(name, None)
            self._right[name] = None
            if len(self._right) > KEPT:
                self._right.popitem(last=False)


def _name(authorization: str) -> bytes:
    """Return what a key is known by here, which is not the key."""
    return hashlib.sha256(authorization.encode("utf-8", "surrogateescape")).digest()
