"""From the bytes of a file to upright 8-bit RGB pixels, with every failure a BadImage.

Owns the Pillow calls. It must never import torch: it runs in decoding children (decoder_pool.py), since a C
decoder fed with hostile bytes can crash, hang or eat memory, and none of that can be caught here.

Colour: ICC profiles of RGB pictures are ignored, as timm's transforms and the training of its backbones ignore them;
converting only here would move a picture away from its profile-less copies. CMYK has no such custom and is converted by
its profile. Alpha is laid on white. 16-bit grey keeps its high byte (Pillow's own conversion saturates at 255).
"""

import contextlib
import functools
import io
import re
import struct
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from indexer.decoding.colour_profiles import in_srgb, of_inks, shown_otherwise
from indexer.decoding.formats import RAW_FORMATS, UNSUPPORTED, ends_early, sniff
from indexer.decoding.jpeg import TURNED, dct_factor, has_video, orientation, read_jpeg
from indexer.decoding.preparation import Preparation, perceptual_hash, small_luma
from indexer.decoding.raw_previews import RawPhotograph, preview
from indexer.decoding.samples import pixel_hash, pixels_of
from indexer.decoding.taken_at import taken_at
from indexer.decoding.wide_grey import is_wide_grey, wide_grey
from search.errors import BadImage, LookalikeError, UsageError

OLDEST_PILLOW: Final = 13  # the JPEG decoder of older ones has a heap overflow (GHSA-8g5g-8vmr-9782)
PILLOW_MAX_PIXELS: Final = 178_956_970  # where Image.open refuses by itself: twice its MAX_IMAGE_PIXELS
THUMBNAIL_QUALITY: Final = 85  # JPEG

_SNIFFED_BYTES: Final = 512  # enough to meet <svg behind an XML declaration and a comment
_DETAIL_CHARACTERS: Final = 200
_BYTE_BITS: Final = 8
_WHITE: Final = 255
_PLUGINS: Final = {
    "jpeg": ["JPEG"],  # a multi-picture JPEG (MPO) comes through the same plugin; its first frame is the photograph
    "avif": ["AVIF", "HEIF"],  # the container brand mif1 does not say which of the two is inside
    "heic": ["HEIF", "AVIF"],
}
_NEW_SUBFILE, _BITS, _PHOTOMETRIC, _SUB_IFDS, _DNG_VERSION = 254, 258, 262, 330, 50706  # TIFF tags
# What Pillow raises over nonsense in metadata; the pixels may be fine all the same.
_METADATA_ERRORS: Final = (
    *(SyntaxError, ValueError, TypeError, LookupError, OSError, ArithmeticError, AttributeError),
    *(AssertionError, EOFError, RuntimeError, struct.error),
)
_NO_MEMORY: Final = re.compile("(out of|insufficient|not enough) memory|cannot allocate|memory allocation", re.I)
_QUIET: Final = ("ignore", None, Warning, re.compile(r"(PIL|pillow_heif)\b"), 0)


@dataclass(frozen=True, slots=True)
class DecodeLimits:
    """What a file may cost, checked before its pixels are decoded.

    max_side: no format but PNG and TIFF can say more than 65,535.

    Raises:
        UsageError: a limit is below 1, or max_pixels above what Pillow allows.
    """

    max_pixels: int = 150_000_000  # 450 MB of RGB; about 15 s in the slowest decoder (PNG, 2 GHz core)
    max_side: int = 65_535
    max_bytes: int = 1 << 29

    def __post_init__(self) -> None:
        if min(self.max_pixels, self.max_side, self.max_bytes) < 1 or self.max_pixels > PILLOW_MAX_PIXELS:
            raise UsageError(f"{self} has a limit below 1, or max_pixels above {PILLOW_MAX_PIXELS:,}")


@dataclass(frozen=True, slots=True, eq=False)
class DecodedImage:
    """An upright picture. pixels: (H, W, 3) uint8 RGB, C-contiguous, read-only.

    format: one of formats.FORMATS, or raw. pixel_hash: 16 bytes, equal only for pictures that lose nothing to each
    other (`samples.pixel_hash`). perceptual_hash: 32 bytes (`preparation.perceptual_hash`). contrast: standard
    deviation of the 64 x 64 luma, 0 (blank) to 127.5; a pattern finer than that grid averages out. taken_at: when its
    camera says it was taken (`taken_at.taken_at`).
    """

    pixels: NDArray[np.uint8]
    format: str
    width: int
    height: int
    pixel_hash: bytes
    perceptual_hash: bytes
    contrast: float
    taken_at: str | None = None


def decode(
    data: bytes, limits: DecodeLimits, preparation: Preparation | None = None, into: NDArray[np.uint8] | None = None
) -> DecodedImage:
    """Return the first frame of a picture as upright RGB, with its hashes; of a RAW photograph its preview.

    preparation: a JPEG may be decoded at a fraction of its size, as this preparation allows. into: flat memory that
    the pixels of a JPEG are put in, where it is long enough.

    Raises:
        BadImage: this file cannot be decoded within the limits; nothing else is raised for what a file contains.
        LookalikeError: the installed Pillow is too old to be fed untrusted files.
    """
    try:
        return _decoded(data, limits, preparation, into)
    except RawPhotograph:
        shown = _decoded(preview(data), limits, preparation, into)
        # The file holds more than its preview shows.
        return replace(shown, format="raw", pixel_hash=pixel_hash(shown.pixels, None, data))


def _decoded(
    data: bytes, limits: DecodeLimits, preparation: Preparation | None, into: NDArray[np.uint8] | None
) -> DecodedImage:
    with opened(data, limits) as image:
        turn = orientation(image)
        size = (image.height, image.width) if turn in TURNED else image.size
        factor = dct_factor(size, preparation) if preparation is not None else 1
        pixels = read_jpeg(image, data, turn, factor, into)
        if pixels is None:
            factor = 1
            rgb, native = _load_rgb(image, data, limits)
            size, pixels = rgb.size, pixels_of(rgb)
        else:
            rgb, native = Image.fromarray(pixels), None
            pixels.flags.writeable = into is not None  # shared memory is for the next picture to write
        luma, moment = small_luma(rgb), taken_at(image)
        # What was decoded at a fraction is not all that the file holds.
        whole = data if factor > 1 or _holds_more_than_it_shows(image, data) else b""
        return DecodedImage(
            pixels=pixels,
            format={"MPO": "jpeg", "HEIF": "heic"}.get(image.format or "", str(image.format).lower()),
            width=size[0],
            height=size[1],
            pixel_hash=pixel_hash(pixels, native, whole, shown_otherwise(image)),
            perceptual_hash=perceptual_hash(luma),
            contrast=float(luma.std()),
            taken_at=moment,
        )


def thumbnail(data: bytes, size: int, limits: DecodeLimits) -> bytes:
    """Return a JPEG of the picture, its long side at most size pixels, never enlarged, without metadata or profile.

    Raises:
        BadImage: as `decode`.
        LookalikeError: as `decode`.
    """
    try:
        return _thumbnail(data, size, limits)
    except RawPhotograph:
        return _thumbnail(preview(data), size, limits)


def small_pixels(data: bytes, size: int, limits: DecodeLimits) -> NDArray[np.uint8]:
    """Return the picture as (H, W, 3) uint8 RGB, upright, its long side at most size pixels, never enlarged.

    Raises:
        BadImage: as `decode`.
        LookalikeError: as `decode`.
    """
    try:
        return np.asarray(_small(data, size, limits))
    except RawPhotograph:
        return np.asarray(_small(preview(data), size, limits))


def _thumbnail(data: bytes, size: int, limits: DecodeLimits) -> bytes:
    rgb = _small(data, size, limits)
    profile = shown_otherwise(rgb)
    rgb = in_srgb(rgb, profile) if profile else rgb
    rgb.info.clear()  # Pillow would copy a comment into the new file
    file = io.BytesIO()
    rgb.save(file, "JPEG", quality=THUMBNAIL_QUALITY)
    return file.getvalue()


def _small(data: bytes, size: int, limits: DecodeLimits) -> Image.Image:
    with opened(data, limits) as image:
        if image.format in ("JPEG", "MPO"):
            image.draft(None, (2 * size, 2 * size))  # the decoder shrinks by 2, 4 or 8: a tenth of the time
        rgb, _ = _load_rgb(image, data, limits)
        rgb.thumbnail((size, size), Image.Resampling.BICUBIC)
        return rgb


def require_pillow() -> None:
    """Raises:
    LookalikeError: the installed Pillow has known memory-safety holes.
    """
    if int(PIL.__version__.split(".")[0]) < OLDEST_PILLOW:
        raise LookalikeError(f"Pillow {PIL.__version__} has known security holes: install 'pillow>={OLDEST_PILLOW}'")


@contextlib.contextmanager
def opened(data: bytes, limits: DecodeLimits) -> Iterator[Image.Image]:
    """Open a file whose size is within the limits, not yet loaded; errors in the body become BadImage too."""
    name = _recognise(data, limits)
    load_plugins()
    if _QUIET not in warnings.filters:  # Pillow warns about files; BadImage is how such news travels here
        warnings.filterwarnings("ignore", module=_QUIET[3].pattern)
    try:
        with Image.open(io.BytesIO(data), formats=_PLUGINS.get(name, [name.upper()])) as image:
            _check_size(image, limits)
            _refuse_raw(_tags(image))
            yield image
    except BadImage:
        raise
    except Exception as error:
        raise BadImage(*_explain(error, name, data, limits)) from error


def _recognise(data: bytes, limits: DecodeLimits) -> str:
    if not data:
        raise BadImage("empty", "the file has no bytes")
    if len(data) > limits.max_bytes:
        raise BadImage("file_too_large", f"{len(data):,} bytes, the limit is {limits.max_bytes:,}")
    name = sniff(data[:_SNIFFED_BYTES])
    if name is None:
        raise BadImage("not_an_image", "its first bytes are those of no picture format")
    if name.removeprefix(UNSUPPORTED) in RAW_FORMATS:
        raise RawPhotograph("unsupported_format", "raw photographs are not decoded")
    if name.startswith(UNSUPPORTED):
        raise BadImage("unsupported_format", f"{name.removeprefix(UNSUPPORTED)} files are not decoded")
    return name


@functools.cache
def load_plugins() -> None:
    """Import the plugins of the allow-list, so that Pillow does not import all it has; one thread per decoder."""
    require_pillow()
    import pillow_heif
    from PIL import AvifImagePlugin, TiffImagePlugin, WebPImagePlugin  # noqa: F401 - the others are always there

    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    pillow_heif.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False, decode_threads=1)


def _explain(error: Exception, name: str, data: bytes, limits: DecodeLimits) -> tuple[str, str]:
    """Return (reason, detail) of what a decoder raised over a file."""
    detail = " ".join(f"{type(error).__name__}: {error}".split())[:_DETAIL_CHARACTERS].rstrip(": ")
    if isinstance(error, UnidentifiedImageError):
        detail = f"the header of this {name} file cannot be read"
    if isinstance(error, MemoryError) or _NO_MEMORY.search(detail):
        return "out_of_memory", detail
    if isinstance(error, Image.DecompressionBombError):
        # In its own words it would be an attack.
        return "too_many_pixels", f"its header says far more than {limits.max_pixels:,} pixels, which is the limit"
    return ("truncated" if ends_early(name, data) else "corrupt"), detail


def _check_size(image: Image.Image, limits: DecodeLimits) -> None:
    width, height = image.size
    if width < 1 or height < 1:
        raise BadImage("corrupt", f"its header says {width} x {height} pixels")
    if width * height > limits.max_pixels or max(width, height) > limits.max_side:
        allowed = f"{limits.max_pixels:,} pixels and {limits.max_side:,} a side"
        raise BadImage("too_many_pixels", f"{width} x {height}, the limit is {allowed}")


def _refuse_raw(tags: Mapping[int, Any]) -> None:
    """Many raw photographs are TIFF files whose first page is a stamp-sized preview: the wrong picture, silently."""
    if _DNG_VERSION in tags or (_SUB_IFDS in tags and int(tags.get(_NEW_SUBFILE, 0)) & 1):
        raise RawPhotograph("unsupported_format", "raw photographs are not decoded")


def _load_rgb(image: Image.Image, data: bytes, limits: DecodeLimits) -> tuple[Image.Image, Image.Image | None]:
    """Decode; return the image as upright 8-bit RGB and, where that holds less than the file's samples, those."""
    image.load()
    _check_size(image, limits)  # again: a HEIF file may hold another size than its header said
    # Damaged EXIF data is no reason to refuse a picture: it is then taken as it lies.
    with contextlib.suppress(*_METADATA_ERRORS):
        ImageOps.exif_transpose(image, in_place=True)
    if is_wide_grey(image):
        counts_from_white = _tags(image).get(_PHOTOMETRIC) == 0
        grey = wide_grey(image, _bits(image, data), counts_from_white=counts_from_white)
        return Image.fromarray(grey).convert("RGB"), image
    if image.has_transparency_data:
        return _on_white(image, _bits(image, data))
    if image.mode == "CMYK":
        return of_inks(image), image
    rgb = image if image.mode == "RGB" else image.convert("RGB")
    return rgb, image if image.mode in ("LAB", "HSV") else None


def _bits(image: Image.Image, data: bytes) -> int:
    """Return the bits per sample of the file: Pillow cuts colour to 8."""
    if image.format == "PNG":
        return data[24]  # in IHDR, which is always the first chunk
    if image.format == "AVIF":
        return 10 if data[data.find(b"av1C") + 6] & 0x40 else _BYTE_BITS  # high_bitdepth of the AV1 configuration box
    if image.format == "TIFF":
        return int(max(_tags(image).get(_BITS, (1,))))
    return int(image.info.get("bit_depth", _BYTE_BITS))  # HEIF says it; the others have 8 at most


def _tags(image: Image.Image) -> Mapping[int, Any]:
    return getattr(image, "tag_v2", {})  # only a TIFF has any


def _holds_more_than_it_shows(image: Image.Image, data: bytes) -> bool:
    """Return whether the file has further frames, a video, or low bits that Pillow drops.

    To be asked last: it may seek.
    """
    try:
        moves = bool(getattr(image, "is_animated", False))
    except _METADATA_ERRORS:
        return True  # the second frame is damaged
    return (
        moves
        or (image.format == "JPEG" and has_video(data))
        or (_bits(image, data) > _BYTE_BITS and not is_wide_grey(image))
    )


def _on_white(image: Image.Image, bits: int) -> tuple[Image.Image, Image.Image | None]:
    transparent = image.info.get("transparency")
    if isinstance(transparent, tuple) and bits > _BYTE_BITS:
        # Pillow has cut the samples to their high bytes, yet not the colour that stands for transparency.
        image.info["transparency"] = tuple(sample >> _BYTE_BITS for sample in transparent)
    if image.mode == "La":  # Pillow would drop the alpha on its way to RGBA
        image = image.convert("LA")
    rgba = image if image.mode == "RGBA" else image.convert("RGBA")
    alpha = rgba.getchannel("A")
    if alpha.getextrema() == (_WHITE, _WHITE):  # opaque: nothing is lost without it
        return rgba.convert("RGB"), None
    white = Image.new("RGB", rgba.size, "white")
    white.paste(rgba, mask=alpha)
    return white, rgba
