"""Torch's antialiased resize: Pillow's pixels to a hundredth of a level on average, in a fifth of the time.

It runs in the process that embeds, on pixels that a decoding child left in shared memory: torch in every child would
cost a second and 150 MB each. Even here it is loaded only once the pictures that came are worth that second; until
then Pillow resizes.
"""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import numpy as np
from numpy.typing import NDArray

from indexer.decoding.preparation import Preparation, cropped_centre, cut_to_longest_aspect, prepare, resized_to

Pixels = NDArray[np.uint8]
Resize = Callable[[Pixels], Pixels]

# Pixels of pictures that Pillow resizes before torch does, and before torch begins to load behind it. By then it has
# lost about as much time as torch takes to load: to wait costs at most as much again as to have known before. One
# picture as large as that alone waits for torch, which makes no copy of it.
PATIENCE_PIXELS: Final = 300_000_000
LOADING_PIXELS: Final = 200_000_000

_thread = threading.local()
_FILTERS: Final = ("bilinear", "bicubic")  # what torch has of Pillow's
_usual_threads: list[int] = []  # that torch had before the first thread chose to stay alone


def resizer(preparation: Preparation, patience: int = PATIENCE_PIXELS) -> Resize | None:
    """Return what prepares (H, W, 3) uint8 pixels as `prepare` does, None where only Pillow can.

    patience: how many pixels of pictures Pillow resizes before torch is loaded for the others; none if it is already.
    """
    if preparation.interpolation not in _FILTERS:
        return None
    if patience == 0 or "torch" in sys.modules:
        return lambda pixels: prepare_with_torch(pixels, preparation)
    return _PatientResizer(preparation, patience)


class _PatientResizer:
    """Resizes with Pillow, then with torch. Thread-safe."""

    def __init__(self, preparation: Preparation, patience: int) -> None:
        self._preparation = preparation
        self._patience = patience
        self._load_at = min(LOADING_PIXELS, patience)
        self._loading: threading.Thread | None = None
        self._pixels = 0  # of all pictures so far
        self._lock = threading.Lock()  # guards the last two

    def __call__(self, pixels: Pixels) -> Pixels:
        if self._is_torch_due(pixels.shape[0] * pixels.shape[1]):
            return prepare_with_torch(pixels, self._preparation)
        return np.array(prepare(pixels, self._preparation), order="C")

    def _is_torch_due(self, pixels: int) -> bool:
        with self._lock:
            self._pixels += pixels
            if self._pixels >= self._patience:
                return True
            if self._pixels >= self._load_at and self._loading is None:
                # No daemon: a process that ends in the middle of it would be aborted by torch's libraries.
                self._loading = threading.Thread(target=_load_torch, name="load torch")
                self._loading.start()
            return self._loading is not None and not self._loading.is_alive()


def _load_torch() -> None:
    import torch  # noqa: F401


def _stay_alone() -> None:
    """Keep this thread from sharing its picture with others: every core has a picture of its own already."""
    import torch

    if not getattr(_thread, "is_set", False):
        if not _usual_threads:
            _usual_threads.append(torch.get_num_threads())
        torch.set_num_threads(1)  # torch keeps the number for each thread, and later ones inherit the last
        _thread.is_set = True


@contextmanager
def threads_afterwards() -> Iterator[None]:
    """Leave torch as many threads as it has now, or has when it is loaded within, to those who begin afterwards."""
    _usual_threads.clear()
    if (torch := sys.modules.get("torch")) is not None:
        _usual_threads.append(torch.get_num_threads())
    try:
        yield
    finally:
        if _usual_threads:
            sys.modules["torch"].set_num_threads(_usual_threads.pop())


def prepare_with_torch(pixels: Pixels, preparation: Preparation) -> Pixels:
    """Return (height, width, 3) uint8 of its own memory, within rounding of what `prepare` returns; see there."""
    if preparation.mode == "card":
        pixels = cut_to_longest_aspect(pixels)
    height, width, _ = pixels.shape
    goal_width, goal_height = resized_to((width, height), preparation)
    if (goal_width, goal_height) != (width, height):
        pixels = _resized(pixels, (goal_height, goal_width), preparation.interpolation)
    if preparation.mode == "card":
        pixels = cropped_centre(pixels, preparation.width, preparation.height)
    return np.array(pixels, order="C")


def _resized(pixels: Pixels, goal: tuple[int, int], interpolation: str) -> Pixels:
    import torch
    from torch.nn.functional import interpolate

    _stay_alone()
    picture = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    picture = interpolate(picture, goal, mode=interpolation, antialias=True, align_corners=False)
    resized: Pixels = picture[0].permute(1, 2, 0).numpy()
    return resized
