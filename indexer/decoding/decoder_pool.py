"""Decoding in disposable children: a picture that crashes, hangs or eats memory costs only itself.

    pipeline threads -> DecoderPool -> one socket per child -> child: decode, hash, prepare; or make it small
                                    <- shared memory         <- child: decode, hash; the caller's thread prepares

A child is a fresh interpreter, started by command line with nothing but light modules: 0.13 s and 19 MB of its own
(Linux, November 2026). It is no child of multiprocessing's forkserver, which imports the caller's __main__ (torch,
under a console script), is one per process with the preloads of whoever came first, and outlives its users. Both ends
speak bytes and JSON: nothing that a hijacked child says is unpickled. Must never import torch.
"""

import contextlib
import logging
import math
import queue
import signal
import threading
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final, Self

import numpy as np
from numpy.typing import NDArray

from indexer.decoding.child_process import ChildProcess, Resize
from indexer.decoding.decode import DecodedImage, DecodeLimits, require_pillow
from indexer.decoding.decoder_child import NO_MEMORY_EXIT, Reply, Want
from indexer.decoding.preparation import Preparation
from search.errors import BadImage, CorruptFile, LookalikeError, UsageError
from search.regions import REGIONS

if TYPE_CHECKING:
    from search.geometry.keypoints import Keypoints

log = logging.getLogger(__name__)

LARGEST_THUMBNAIL: Final = 4_096  # pixels a side


@dataclass(frozen=True, slots=True, eq=False)
class PreparedImage(DecodedImage):
    """A picture as the backbone sees it: its pixels are prepared; width and height are still the picture's own.

    regions: (4, H, W, 3) uint8, its regions likewise (search/regions.py); None where nobody asked for them. keypoints:
    those of its local features, None where the pool was not to find them.
    """

    regions: NDArray[np.uint8] | None = None
    keypoints: "Keypoints | None" = None


class DecoderPool:
    """Decoding children for any number of threads, started when first needed; close() leaves nothing of them."""

    def __init__(  # noqa: PLR0913 - the limits of one thing
        self,
        preparation: Preparation,
        *,
        children: int,
        limits: DecodeLimits | None = None,
        timeout_s: float = 30.0,
        memory_bytes: int = 2 << 30,
        recycle_after: int = 2_000,
        resize: Resize | None = None,
        regions: bool = False,
        keypoints: bool = False,
        decode_with: str = "indexer.decoding.decode:decode",
    ) -> None:
        """resize: prepares the pixels of JPEGs here instead of Pillow in the child (see indexer/decoding/resizing.py).
        memory_bytes: what a child may allocate beyond its start (Linux). recycle_after: requests a child answers, to
        bound what it leaks. regions: pictures are prepared in their regions, too. keypoints: of `decode`d pictures are
        found, too. decode_with: "module:function" instead of decode, for tests.

        Raises:
            UsageError: a number has a value that cannot be used.
            LookalikeError: the installed Pillow is too old to be fed untrusted files.
        """
        if min(children, timeout_s, memory_bytes, recycle_after) <= 0:
            raise UsageError(f"{children=}, {timeout_s=}, {memory_bytes=} and {recycle_after=} must be above 0")
        require_pillow()
        self._shape = (preparation.height, preparation.width, 3)
        self._timeout_s = timeout_s
        self._recycle_after = recycle_after
        self._resize = resize
        self._regions = regions
        limits = limits or DecodeLimits()
        self._start = {
            "preparation": preparation.as_dict(),
            "limits": asdict(limits),
            "shared_bytes": 3 * limits.max_pixels if resize is not None else 0,
            "timeout_s": timeout_s,
            "memory_bytes": memory_bytes,
            "regions": regions,
            "keypoints": keypoints,
            "decode_with": decode_with,
        }
        self._lock = threading.Lock()  # guards the next two
        self._living: set[ChildProcess] = set()
        self._closed = False
        self._slots: queue.LifoQueue[ChildProcess | None] = queue.LifoQueue()  # None: a child yet to be started
        for _ in range(children):
            self._slots.put(None)

    def decode(self, data: bytes, name: str) -> PreparedImage:
        """Return a picture decoded and prepared; waits for a free child. name: of the file, for the log.

        Raises:
            BadImage: this file cannot be decoded, or it killed, outlasted or overfilled its child.
            LookalikeError: the pool is closed, or children cannot start.
        """
        facts, pixels = self._ask("picture", 0, data, name)
        facts |= {key: bytes.fromhex(facts[key]) for key in ("pixel_hash", "perceptual_hash")}
        shape = (1 + REGIONS * self._regions, *self._shape)
        frames = np.frombuffer(pixels, np.uint8, math.prod(shape)).reshape(shape)
        regions = frames[1:] if self._regions else None
        return PreparedImage(pixels=frames[0], regions=regions, keypoints=_keypoints_in(pixels[frames.size :]), **facts)

    def thumbnail(self, data: bytes, size: int, name: str = "a picture for a thumbnail") -> bytes:
        """Return a JPEG of the picture, its long side at most size pixels, never enlarged, without metadata.

        Raises:
            BadImage: as `decode`.
            LookalikeError: as `decode`.
            UsageError: size is not 1 to LARGEST_THUMBNAIL.
        """
        return self._ask("thumbnail", _possible(size), data, name)[1]

    def pixels(self, data: bytes, size: int, name: str) -> NDArray[np.uint8]:
        """Return the picture itself, upright, (H, W, 3) uint8 RGB, its long side at most size pixels, never enlarged.

        Raises:
            BadImage: as `decode`.
            LookalikeError: as `decode`.
            UsageError: size is not 1 to LARGEST_THUMBNAIL.
        """
        facts, pixels = self._ask("pixels", _possible(size), data, name)
        return np.frombuffer(pixels, np.uint8).reshape(facts["shape"])

    def close(self) -> None:
        """End all children, also those at work: their callers get a LookalikeError. Safe from any thread, twice too."""
        with self._lock:
            self._closed = True
            living, self._living = self._living, set()
        for child in living:
            child.kill()
        with contextlib.suppress(queue.Empty):
            while True:
                idle = self._slots.get_nowait()
                if idle is not None:
                    idle.end()
        self._slots.put(None)  # wakes a caller that waits for a child; it wakes the next

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, want: Want, size: int, data: bytes, name: str) -> Reply:
        log.debug("decoding %s (%d bytes)", name, len(data))
        try:
            facts, payload = self._ask_child(want, size, data, name, fresh=False)
        except _ChildDied:
            # An earlier file may have left that child damaged: only a fresh one convicts this file.
            try:
                facts, payload = self._ask_child(want, size, data, name, fresh=True)
            except _ChildDied as death:
                raise BadImage("decoder_crashed", f"its decoding child {death}, twice") from None
        if "reason" in facts:
            raise BadImage(facts["reason"], facts["detail"])
        return facts, payload

    def _ask_child(self, want: Want, size: int, data: bytes, name: str, *, fresh: bool) -> Reply:
        child, kept = self._slots.get(), None
        try:
            if child is None or fresh:
                self._end(child)
                child = self._start_child()
            try:
                facts, payload = self._answer(child, want, size, data)
                if "shared" in facts:
                    payload = child.prepared(facts, self._resize) + payload
            except (EOFError, OSError, ValueError) as error:  # ValueError: its answer is not JSON
                raise self._verdict(error, child, name) from None
            if child.served < self._recycle_after and facts.get("reason") != "out_of_memory":
                kept = child
            return facts, payload
        finally:
            # Also after an interrupt: the answer still to come would be taken for that to the next file.
            if kept is None:
                self._end(child)
            self._slots.put(kept)

    def _answer(self, child: ChildProcess, want: Want, size: int, data: bytes) -> Reply:
        try:
            return child.ask(want, size, data, self._timeout_s)
        except LookalikeError:
            if self._closed:  # while it was starting
                raise LookalikeError("the decoder pool was closed") from None
            raise

    def _verdict(self, error: Exception, child: ChildProcess, name: str) -> Exception:
        """Return what to raise over a file whose child gave no answer."""
        code = child.end()
        if self._closed:
            return LookalikeError("the decoder pool was closed")
        if isinstance(error, TimeoutError):
            log.warning("decoding child %d was ended: no answer on %s in %g s", child.pid, name, self._timeout_s)
            return BadImage("decoder_timeout", f"not decoded within {self._timeout_s:g} s")
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        log.warning("decoding child %d %s while at work on %s", child.pid, how, name)
        if code == NO_MEMORY_EXIT:
            return BadImage("out_of_memory", "the file alone fills the memory of a decoding child")
        return _ChildDied(how)

    def _start_child(self) -> ChildProcess:
        with self._lock:
            if self._closed:
                raise LookalikeError("the decoder pool is closed")
            child = ChildProcess(self._start)
            self._living.add(child)
            return child

    def _end(self, child: ChildProcess | None) -> None:
        if child is not None:
            child.end()
            with self._lock:
                self._living.discard(child)


def _keypoints_in(data: bytes) -> "Keypoints | None":
    if not data:
        return None
    from search.geometry.stored_keypoints import from_bytes  # loads OpenCV

    try:
        return from_bytes(data)
    except CorruptFile as error:
        raise BadImage("decoder_crashed", f"its decoding child gave no keypoints: {error}") from error


def _possible(size: int) -> int:
    if not 1 <= size <= LARGEST_THUMBNAIL:
        raise UsageError(f"a picture of {size} pixels is not possible: choose 1 to {LARGEST_THUMBNAIL}")
    return size


class _ChildDied(Exception):
    """A child ended without an answer; the message says how."""
