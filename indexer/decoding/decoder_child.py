"""The child's side of `indexer/decoding/decoder_pool.py`: decode, hash, prepare or make a thumbnail, answer, repeat.

A request is {"want": a Want, "size": longest side of a small one}, then the file. A reply is the facts, or reason
and detail; then the prepared pixels, and those of the regions where they are wanted, or the thumbnail, or the small
pixels, or nothing when the facts say that decoded pixels lie in shared memory; behind any of those pixels the
keypoints, where they are wanted. Must never import torch.
"""

import contextlib
import importlib
import json
import math
import os
import resource
import signal
import sys
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from indexer.decoding.decode import DecodedImage, DecodeLimits, load_plugins, small_pixels, thumbnail
from indexer.decoding.preparation import Preparation, prepare
from indexer.decoding.region_frames import region_frames
from indexer.decoding.shared_pixels import SharedPixels
from search.errors import BadImage

READY: Final = b"ready"
NO_MEMORY_EXIT: Final = 77  # exit code of a child that could not even hold the file
_PARENT_CHECK_S: Final = 10.0
_ALARM_AFTER_S: Final = 5  # beyond the timeout: a hanging child ends itself when its parent no longer does

Reply = tuple[dict[str, Any], bytes]
Want = Literal["picture", "thumbnail", "pixels"]


class _Work(NamedTuple):
    """What a child does with a file. shared: where decoded pixels may stay for the parent to prepare.

    regions: whether those of a picture are prepared, too. keypoints: finds those of the local features, None where
    nobody wants them.
    """

    decode: Callable[..., DecodedImage]
    preparation: Preparation
    limits: DecodeLimits
    shared: SharedPixels | None
    regions: bool
    keypoints: Callable[[NDArray[np.uint8]], bytes] | None

    def do(self, want: Want, size: int, data: bytes) -> Reply:
        try:
            return self._do(want, size, data)
        except BadImage as bad:
            return {"reason": bad.reason, "detail": bad.detail}, b""
        except MemoryError:
            return {"reason": "out_of_memory", "detail": "memory ran out while it was prepared"}, b""
        except Exception as error:  # noqa: BLE001 - our own mistake, and it too costs only this file
            return {"reason": "decoder_crashed", "detail": repr(error)}, b""

    def _do(self, want: Want, size: int, data: bytes) -> Reply:
        if want == "thumbnail":
            return {}, thumbnail(data, size, self.limits)
        if want == "pixels":
            pixels = small_pixels(data, size, self.limits)
            return {"shape": pixels.shape}, pixels.tobytes()
        image = self.decode(data, self.limits, self.preparation, self.shared.flat if self.shared else None)
        facts = {key: getattr(image, key) for key in ("format", "width", "height", "contrast", "taken_at")}
        facts |= {"pixel_hash": image.pixel_hash.hex(), "perceptual_hash": image.perceptual_hash.hex()}
        found = b"" if self.keypoints is None else self.keypoints(image.pixels)
        if self.shared is not None and self.shared.holds(image.pixels):
            return facts | {"shared": image.pixels.shape[:2]}, found
        whole = prepare(image.pixels, self.preparation).tobytes()
        if not self.regions:
            return facts, whole + found
        regions = region_frames(image.pixels, (image.width, image.height), lambda part: prepare(part, self.preparation))
        return facts, whole + regions.tobytes() + found


def _keypoints_finder() -> Callable[[NDArray[np.uint8]], bytes]:
    """Return what finds the keypoints of local features; OpenCV is loaded for those who want them alone."""
    from search.geometry.keypoints import Detail, extract
    from search.geometry.local_features import FEATURES
    from search.geometry.stored_keypoints import to_bytes

    kept = Detail(FEATURES, thumbnail_area=1)
    return lambda pixels: to_bytes(extract(pixels, kept))


def be_child(start: dict[str, Any]) -> None:
    """Answer requests until the parent hangs up. start: as decoder_pool writes it."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # a signal to the whole group is for the parent to judge
    warnings.simplefilter("ignore")
    load_plugins()
    module, function = start["decode_with"].split(":")
    decode = getattr(importlib.import_module(module), function)
    shared = SharedPixels.opened(start["shared"], start["shared_bytes"]) if start["shared"] is not None else None
    limits, finder = DecodeLimits(**start["limits"]), _keypoints_finder() if start["keypoints"] else None
    work = _Work(decode, Preparation.from_dict(start["preparation"]), limits, shared, start["regions"], finder)
    with Connection(start["socket"]) as connection:
        connection.send_bytes(READY)
        _confine(start["memory_bytes"])
        try:
            _answer_requests(connection, work, math.ceil(start["timeout_s"]) + _ALARM_AFTER_S, start["parent"])
        except MemoryError:  # over the file itself: half of it is still to be read
            os._exit(NO_MEMORY_EXIT)


def _confine(memory_bytes: int) -> None:
    """Give up what a decoder has no use for: output, files to write, core dumps, endless memory."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + memory_bytes
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _answer_requests(connection: Connection, work: _Work, alarm_s: int, parent: int) -> None:
    with contextlib.suppress(EOFError):
        while True:
            # A process that the parent forked may hold its end open: hanging up is not the only sign of its end.
            while not connection.poll(_PARENT_CHECK_S):
                if os.getppid() != parent:
                    return
            request = json.loads(connection.recv_bytes())
            data = connection.recv_bytes()
            signal.alarm(alarm_s)
            facts, payload = work.do(request["want"], request["size"], data)
            signal.alarm(0)
            connection.send_bytes(json.dumps(facts).encode())
            connection.send_bytes(payload)
