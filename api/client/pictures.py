"""Pictures as callers have them, made bytes to send. PIL is loaded where it has made the picture, or for arrays."""

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from api.client.calls import Part
from search.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image as PILImage

    Picture: TypeAlias = str | os.PathLike[str] | bytes | PILImage | NDArray[Any]

CHANNELS = (3, 4)
PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")


def picture_part(picture: "Picture", field: str = "image") -> Part:
    """Return a picture as a part of a form: a file by its path, the bytes of one, a PIL image, or an array.

    An array is (height, width) or (height, width, 3 or 4), uint8, RGB.

    Raises:
        UsageError: the file cannot be read, or this is none of them.
    """
    if isinstance(picture, bytes | bytearray | memoryview):
        return Part(field, "upload", bytes(picture))
    if isinstance(picture, str | os.PathLike):
        return _file(Path(picture), field)
    if isinstance(picture, np.ndarray):
        return Part(field, "array.png", _png(_image_of(picture)))
    if hasattr(picture, "save") and hasattr(picture, "getbands"):
        return Part(field, "image.png", _png(picture))
    raise UsageError(f"a {type(picture).__name__} is no picture; give a path, bytes, a PIL image or an array of pixels")


def _file(path: Path, field: str) -> Part:
    try:
        data = path.expanduser().read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}; name a picture file") from error
    # The name is only shown; a form takes no half characters, which paths of Linux may hold.
    return Part(field, path.name.encode("utf-8", "replace").decode(), data)


def _image_of(pixels: "NDArray[Any]") -> "PILImage":
    from PIL import Image

    grey = pixels.ndim == 2  # noqa: PLR2004
    coloured = pixels.ndim == 3 and pixels.shape[2] in CHANNELS  # noqa: PLR2004
    if pixels.dtype != np.uint8 or not (grey or coloured) or 0 in pixels.shape:
        raise UsageError(
            f"an array of shape {pixels.shape} and type {pixels.dtype} is no picture; "
            "give (height, width) or (height, width, 3 or 4) of uint8"
        )
    return Image.fromarray(pixels)


def _png(image: "PILImage") -> bytes:
    """Return a picture as PNG, which loses nothing; one of a mode that PNG lacks becomes RGB."""
    file = io.BytesIO()
    if image.mode in PNG_MODES:
        image.save(file, "PNG", compress_level=1)
    else:  # its colour profile is one of its own mode
        image.convert("RGB").save(file, "PNG", compress_level=1, icc_profile=None)
    return file.getvalue()
