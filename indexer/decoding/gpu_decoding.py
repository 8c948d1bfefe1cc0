"""Decoding of JPEGs on the GPU by nvJPEG, for collections that are trusted: `index --decode gpu`.

    pipeline threads -> header -> plain JPEG -> one thread: batches -> indexer/decoding/device_frames.py -> crop, hashes
                               -> anything else, and all that the GPU fails on -> the decoding children

nvJPEG reads the files inside our own process: a file that exploits it has what this process has. Its pixels differ by
a level or two from libjpeg's, which decodes everywhere else, so a pixel hash made of them could not be compared: it is
made of the file instead, and copies that differ in metadata only are found by their score.
"""

import contextlib
import logging
import threading
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Final, Self

import numpy as np
import torch
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from indexer.decoding.decode import DecodeLimits, opened
from indexer.decoding.decoder_pool import PreparedImage
from indexer.decoding.decoding import Decoder
from indexer.decoding.device_frames import (
    NO_SCALING,
    DeviceFrames,
    Encoded,
    Frame,
    Header,
    as_tensor,
    first_line,
    framed,
)
from indexer.decoding.jpeg import TURNED, orientation
from indexer.decoding.preparation import HASH_SIDE, LONGEST_ASPECT, Preparation, perceptual_hash
from indexer.decoding.samples import pixel_hash
from indexer.decoding.taken_at import taken_at
from indexer.devices import CPU, choose_device
from search.errors import BadImage, LookalikeError, UsageError

log = logging.getLogger(__name__)

PICTURES_AT_ONCE: Final = 64
CALLERS: Final = 2 * PICTURES_AT_ONCE  # threads that keep the GPU busy: a batch gathers while another is at work
LARGEST_PIXELS: Final = 1 << 26  # of a picture: as floats it takes 800 MB of the GPU
PIXELS_AT_ONCE: Final = 1 << 27  # of a batch: 400 MB
PATIENCE_S: Final = 0.002  # a batch waits this long for more than its first picture

_START: Final = b"\xff\xd8\xff"
_END: Final = b"\xff\xd9"
_TRAILING_BYTES: Final = 4_096  # what may follow the end; a file with more is left to the children


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    """A file on its way to the GPU. answer: None when the GPU fails on it."""

    encoded: Encoded
    answer: "Future[Frame | None]" = field(default_factory=Future)


def decoding_device(where: str, device: str, *, dct_scaling: bool) -> str | None:
    """Return the GPU for --decode `where`, None when it says cpu. device: as --device says. Loads and decodes nothing.

    Raises:
        UsageError: `where` is unknown, or there is no GPU, or dct_scaling is wanted, too.
    """
    if where not in ("cpu", "gpu"):
        raise UsageError(f"--decode {where!r} is not one of cpu, gpu")
    if where == "cpu":
        return None
    if dct_scaling:
        raise UsageError(NO_SCALING)
    chosen = choose_device(device)
    if chosen == CPU:
        raise UsageError(f"--decode gpu needs a CUDA device, and --device {device} gives none: use --decode cpu")
    return chosen


def plain_header(data: bytes, limits: DecodeLimits) -> Header | None:
    """Return the header of a JPEG for the GPU, None for everything else: the children decode it, or say what is wrong.

    Plain is: whole, within the limits, grey or YCbCr, and neither tiny, huge nor a strip. Parsed by Python alone.
    """
    if not data.startswith(_START) or data.rfind(_END, -_TRAILING_BYTES) < 0:
        return None
    try:
        with opened(data, limits) as image:
            return Header(*image.size, orientation(image), taken_at(image)) if _is_plain(image) else None
    except BadImage:
        return None


def _is_plain(image: Image.Image) -> bool:
    if not isinstance(image, JpegImageFile) or image.mode not in ("L", "RGB"):
        return False
    short, long = min(image.size), max(image.size)
    if short < HASH_SIDE or long > LONGEST_ASPECT * short or short * long > LARGEST_PIXELS:
        return False
    if image.mode == "L" or "adobe_transform" in image.info:
        return image.mode == "L" or image.info["adobe_transform"] == 1
    return "jfif" in image.info or [layer[0] for layer in image.layer] == [1, 2, 3]


class GpuDecoder:
    """The Decoder of trusted files: plain JPEGs on the GPU, in batches, and the rest by another decoder."""

    def __init__(
        self,
        others: Decoder,
        frames: DeviceFrames,
        *,
        limits: DecodeLimits | None = None,
        pictures_at_once: int = PICTURES_AT_ONCE,
        patience_s: float = PATIENCE_S,
    ) -> None:
        """others: stays open when this one is closed."""
        self._others = others
        self._frames = frames
        self._limits = limits or DecodeLimits()
        self._queue = _Queue(pictures_at_once, patience_s)
        self._thread = threading.Thread(target=self._run, name="gpu-decoder", daemon=True)
        self._thread.start()

    def decode(self, data: bytes, name: str) -> PreparedImage:
        """Return a picture decoded and prepared; waits for its batch. name: of the file, for the log.

        Raises:
            BadImage: this file cannot be decoded.
            LookalikeError: this decoder or the other one is closed or broken.
        """
        header = plain_header(data, self._limits)
        if header is not None:
            waiting = _Waiting(Encoded(as_tensor(data), header))
            self._queue.put(waiting)
            frame = waiting.answer.result()
            if frame is not None:
                return _prepared(frame, header, data, self._frames.preparation)
            log.info("not decoded on the GPU: %s", name)
        return self._others.decode(data, name)

    def close(self) -> None:
        """End the thread after the batch it is at; those who wait for another get a LookalikeError. Twice is fine."""
        self._queue.close(LookalikeError("the GPU decoder is closed"))
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self) -> None:
        batch: list[_Waiting] = []
        try:
            with torch.inference_mode(), _own_stream(self._frames.device):
                while batch := self._queue.take():
                    frames = self._frames.frames([picture.encoded for picture in batch])
                    for picture, frame in zip(batch, frames, strict=True):
                        picture.answer.set_result(frame)
        except BaseException as error:  # noqa: BLE001 -- it is raised in every thread that waits or comes to wait
            log.exception("decoding on the GPU has ended")
            failure = LookalikeError(f"decoding on the GPU has ended: {first_line(error)}")
            for picture in batch:
                if not picture.answer.done():
                    picture.answer.set_exception(failure)
            self._queue.close(failure)


class _Queue:
    """Pictures that wait for the GPU, handed out in batches."""

    def __init__(self, pictures_at_once: int, patience_s: float) -> None:
        self._pictures_at_once = pictures_at_once
        self._patience_s = patience_s
        self._items: deque[_Waiting] = deque()
        self._closed: LookalikeError | None = None
        self._changed = threading.Condition()

    def put(self, item: _Waiting) -> None:
        """Raises:
        LookalikeError: the queue is closed.
        """
        with self._changed:
            if self._closed is not None:
                raise LookalikeError(str(self._closed))
            self._items.append(item)
            self._changed.notify()

    def take(self) -> list[_Waiting]:
        """Wait for a picture and a little for more; return what there is, up to a batch, nothing once closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._closed)
            self._changed.wait_for(lambda: self._full() or self._closed, self._patience_s)
            batch: list[_Waiting] = []
            pixels = 0
            while self._items and len(batch) < self._pictures_at_once:
                header = self._items[0].encoded.header
                pixels += header.width * header.height
                if batch and pixels > PIXELS_AT_ONCE:
                    break
                batch.append(self._items.popleft())
            return batch

    def close(self, failure: LookalikeError) -> None:
        """Refuse what comes, and those who wait."""
        with self._changed:
            self._closed = self._closed or failure
            left = list(self._items)
            self._items.clear()
            self._changed.notify_all()
        for item in left:
            item.answer.set_exception(LookalikeError(str(failure)))

    def _full(self) -> bool:
        return len(self._items) >= self._pictures_at_once


def _prepared(frame: Frame, header: Header, data: bytes, preparation: Preparation) -> PreparedImage:
    width, height = header.width, header.height
    if header.turn in TURNED:
        width, height = height, width
    pixels = framed(frame.pixels, preparation)
    pixels.flags.writeable = False
    return PreparedImage(
        pixels=pixels,
        format="jpeg",
        width=width,
        height=height,
        pixel_hash=pixel_hash(np.empty((height, width, 0), np.uint8), None, data),
        perceptual_hash=perceptual_hash(frame.luma),
        contrast=float(frame.luma.std()),
        taken_at=header.taken_at,
    )


def _own_stream(device: str) -> contextlib.AbstractContextManager[object]:
    """Return a context of a stream beside the backbone's, so that neither waits for the other."""
    if torch.device(device).type != "cuda":
        return contextlib.nullcontext()
    return torch.cuda.stream(torch.cuda.Stream(device))  # type: ignore[no-untyped-call]
