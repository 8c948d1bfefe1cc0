"""From the bytes of JPEGs to resized frames on one device, by a decode function that is checked against the CPU first.

Owns the arithmetic of `--decode gpu`; which files take that way, and when, is up to gpu_decoding.py. The decode
function is given, so that all of it also runs on a CPU.
"""

import functools
import io
import logging
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image

from indexer.decoding.decode import DecodeLimits, decode
from indexer.decoding.jpeg import TURNS
from indexer.decoding.preparation import HASH_SIDE, Preparation, cropped_centre, resized_to
from indexer.decoding.resizing import prepare_with_torch, resizer
from search.errors import UsageError

log = logging.getLogger(__name__)

NO_SCALING: Final = "--decode gpu cannot decode at a fraction of the size (--dct-scaling): leave one of them out"
TOLERANCE: Final = 1.0  # levels by which a prepared probe may differ from the CPU's, on average

_LUMA: Final = (0.299, 0.587, 0.114)  # ITU-R 601, as Pillow's
_PROBE_WIDTH, _PROBE_HEIGHT = 640, 480
_PROBE_TURN: Final = 6  # an EXIF orientation
_ORIENTATION: Final = 0x0112
_FAILURES: Final = (RuntimeError, ValueError)  # torch says nearly everything by the first, also that memory is full

# Files as 1-D uint8 tensors on the CPU -> (3, H, W) uint8 RGB each, on the device; RuntimeError when one fails.
DecodeBatch = Callable[[list[torch.Tensor]], list[torch.Tensor]]


class Header(NamedTuple):
    """What the header of a JPEG says. width and height: as stored. turn: its EXIF orientation. taken_at: its date."""

    width: int
    height: int
    turn: int
    taken_at: str | None = None


class Encoded(NamedTuple):
    """A file: all its bytes, 1-D uint8 on the CPU, and its header."""

    file: torch.Tensor
    header: Header


class Frame(NamedTuple):
    """A picture as resized for the backbone but not cropped, (H, W, 3) uint8; and its (64, 64) uint8 luma."""

    pixels: NDArray[np.uint8]
    luma: NDArray[np.uint8]


def torchvision_decoder(device: str) -> DecodeBatch:
    """Return nvJPEG as torchvision offers it.

    Raises:
        UsageError: torchvision is missing, broken or without a JPEG decoder.
    """
    try:
        from torchvision.io import ImageReadMode, decode_jpeg  # type: ignore[import-untyped]
    except (ImportError, RuntimeError) as error:
        raise UsageError(f"--decode gpu needs torchvision with nvJPEG: {first_line(error)}") from error

    def decode_batch(files: list[torch.Tensor]) -> list[torch.Tensor]:
        with torch.cuda.device(device):  # of which torchvision asks the stream that its answer is for
            # It decodes in a stream of its own into memory of this one, and does not wait until that is free.
            torch.cuda.current_stream().synchronize()
            pictures: list[torch.Tensor] = decode_jpeg(files, mode=ImageReadMode.RGB, device=device)
        return pictures

    return decode_batch


class DeviceFrames:
    """Files to frames on one device, by a decode function that is checked against the CPU first."""

    def __init__(self, decode_batch: DecodeBatch, preparation: Preparation, device: str) -> None:
        """Decode a few probes here and on the CPU.

        Raises:
            UsageError: this preparation needs the CPU, or decode_batch fails or is not within TOLERANCE of it.
        """
        if preparation.dct_scaling:
            raise UsageError(NO_SCALING)
        if resizer(preparation) is None:
            raise UsageError(f"--decode gpu cannot resize by {preparation.interpolation!r}: use --decode cpu")
        self.preparation = preparation
        self.device = device
        self._decode_batch = decode_batch
        self._luma = torch.tensor(_LUMA, device=device)
        self._box_weights = functools.lru_cache(maxsize=16)(lambda length: box_weights(length, device))
        self._check()

    def frames(self, batch: Sequence[Encoded]) -> list[Frame | None]:
        """Return a frame per picture in their order, None for those that the device fails on."""
        try:
            decoded = self._decode_batch([picture.file for picture in batch])
        except _FAILURES as error:
            # A batch fails as a whole: halves find the culprit.
            if len(batch) == 1:
                log.info("a JPEG is left to the CPU: %s", first_line(error))
                return [None]
            half = len(batch) // 2
            return self.frames(batch[:half]) + self.frames(batch[half:])
        made = [self._made(pixels, picture.header) for pixels, picture in zip(decoded, batch, strict=True)]
        return [None if pair is None else Frame(*(part.cpu().numpy() for part in pair)) for pair in made]

    def _made(self, pixels: torch.Tensor, header: Header) -> tuple[torch.Tensor, torch.Tensor] | None:
        if pixels.shape != (3, header.height, header.width):
            return None
        try:
            picture = upright(pixels, header.turn).float()
            frame = resized(picture, self.preparation).byte().permute(1, 2, 0).contiguous()
            return frame, self._small_luma(picture).byte()
        except _FAILURES as error:
            log.info("a JPEG is left to the CPU: %s", first_line(error))
            return None

    def _small_luma(self, picture: torch.Tensor) -> torch.Tensor:
        """Return (64, 64) whole numbers: what `preparation.small_luma` makes, rounded at each of its steps as there."""
        luma = rounded(torch.tensordot(self._luma, picture, dims=1))
        blocks = min(luma.shape) // (2 * HASH_SIDE)
        if blocks > 1:
            luma = rounded(F.avg_pool2d(luma[None], blocks, ceil_mode=True, count_include_pad=False)[0])
        rows, columns = (self._box_weights(length) for length in luma.shape)
        return rounded(rows @ rounded(luma @ columns.T))

    def _check(self) -> None:
        for kind, (data, turn) in probes().items():
            try:
                difference = self._difference(data, turn)
            except (*_FAILURES, AttributeError, ImportError) as error:
                reason = f"a {kind} JPEG cannot be decoded on {self.device} ({first_line(error)})"
                raise UsageError(f"--decode gpu: {reason}; use --decode cpu") from error
            if not difference <= TOLERANCE:  # also when it is NaN
                reason = f"a {kind} JPEG differs by {difference:.2f} levels from the CPU's, {TOLERANCE} are allowed"
                raise UsageError(f"--decode gpu: {reason}; use --decode cpu")
            log.info("a %s JPEG differs by %.2f levels from the CPU's", kind, difference)

    @torch.inference_mode()
    def _difference(self, data: bytes, turn: int) -> float:
        """Return by how many levels this frame of a probe differs from the CPU's, on average."""
        (pixels,) = self._decode_batch([as_tensor(data)])
        made = self._made(pixels, Header(_PROBE_WIDTH, _PROBE_HEIGHT, turn))
        if made is None:
            raise ValueError("it has another size there, or cannot be resized")
        found = framed(made[0].cpu().numpy(), self.preparation)
        expected = prepare_with_torch(decode(data, DecodeLimits()).pixels.copy(), self.preparation)
        return float(np.abs(found.astype(np.float64) - expected).mean())


def upright(pixels: torch.Tensor, turn: int) -> torch.Tensor:
    """Return (3, H, W) pixels turned as their EXIF orientation says."""
    if turn not in TURNS:
        return pixels
    mirrored, quarters = TURNS[turn]
    return torch.rot90(pixels.flip(2) if mirrored else pixels, quarters, (1, 2))


def resized(picture: torch.Tensor, preparation: Preparation) -> torch.Tensor:
    """Return a (3, H, W) float picture resized as `prepare` does before it crops: whole numbers from 0 to 255.

    Width first, then height, each rounded to levels, as Pillow and torch do it on bytes.
    """
    _, height, width = picture.shape
    goal_width, goal_height = resized_to((width, height), preparation)
    for goal in ((height, goal_width), (goal_height, goal_width)):
        if tuple(picture.shape[1:]) != goal:
            bigger = picture[None]
            smaller = F.interpolate(bigger, goal, mode=preparation.interpolation, antialias=True, align_corners=False)
            picture = rounded(smaller[0])
    return picture


def rounded(samples: torch.Tensor) -> torch.Tensor:
    """Return the nearest levels, halves up as on bytes: 0 to 255."""
    return (samples + 0.5).floor_().clamp_(0, 255)


def box_weights(length: int, device: str) -> torch.Tensor:
    """Return (64, length), length 64 or more: row i averages the samples whose centres lie in the i-th of 64 stretches.

    That is Pillow's BOX filter: no sample is shared by two stretches.
    """
    edges = torch.arange(HASH_SIDE + 1, device=device, dtype=torch.float64) * (length / HASH_SIDE)
    centres = torch.arange(length, device=device, dtype=torch.float64) + 0.5
    inside = (centres > edges[:-1, None]) & (centres <= edges[1:, None])
    return (inside / inside.sum(dim=1, keepdim=True)).float()


def framed(pixels: NDArray[np.uint8], preparation: Preparation) -> NDArray[np.uint8]:
    """Return the (height, width, 3) frame of resized pixels; only "card" crops."""
    return cropped_centre(pixels, preparation.width, preparation.height) if preparation.mode == "card" else pixels


def probes() -> dict[str, tuple[bytes, int]]:
    """Return small JPEGs of each kind that is decoded on the GPU, the same in every run, and their EXIF orientation."""
    y, x = np.mgrid[:_PROBE_HEIGHT, :_PROBE_WIDTH]
    waves = [np.sin(x / 23) * np.cos(y / 31), np.sin((x + y) / 47), np.cos(x / 61 - y / 19)]
    grain = np.random.default_rng(0).integers(-16, 17, (_PROBE_HEIGHT, _PROBE_WIDTH, 1))
    picture = Image.fromarray((128 + 100 * np.stack(waves, axis=2) + grain).clip(0, 255).astype(np.uint8))
    turned = Image.Exif()
    turned[_ORIENTATION] = _PROBE_TURN
    return {
        "baseline": (_jpeg(picture), 1),
        "progressive": (_jpeg(picture, progressive=True), 1),
        "grey": (_jpeg(picture.convert("L")), 1),
        "turned": (_jpeg(picture, exif=turned.tobytes()), _PROBE_TURN),
    }


def _jpeg(picture: Image.Image, **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=90, **options)
    return file.getvalue()


def as_tensor(data: bytes) -> torch.Tensor:
    """Return a copy of the bytes, (N,) uint8: torch wants memory that it may write to."""
    return torch.frombuffer(bytearray(data), dtype=torch.uint8)


def first_line(error: BaseException) -> str:
    """Return what an error says, without torch's stack traces; its type when it says nothing."""
    return next(iter(str(error).splitlines()), "") or type(error).__name__
