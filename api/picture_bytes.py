"""Pictures as programs have them, made files. PIL is loaded where it has made the picture, or for arrays."""

import io
import os
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from search.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image as PILImage

    Picture: TypeAlias = str | os.PathLike[str] | bytes | PILImage | NDArray[Any]

CHANNELS = (3, 4)
PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")


def as_file(picture: Any) -> tuple[bytes, str]:  # noqa: ANN401 -- whatever a caller gave
    """Return the bytes of a picture that is no path, and a name for it: the bytes of a file, a PIL image, or an array.

    An array is (height, width) or (height, width, 3 or 4), uint8, RGB. What is no file yet becomes PNG.

    Raises:
        UsageError: it is none of them, or cannot be written.
    """
    if isinstance(picture, bytes | bytearray | memoryview):
        return bytes(picture), "upload"
    if isinstance(picture, np.ndarray):
        return _png(_image_of(picture)), "array.png"
    if hasattr(picture, "save") and hasattr(picture, "getbands"):
        return _png(picture), "image.png"
    raise UsageError(f"a {type(picture).__name__} is no picture; give a path, bytes, a PIL image or an array of pixels")


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
    """Return a picture as PNG, which loses nothing; one of a mode that PNG lacks becomes RGB.

    Raises:
        UsageError: its pixels cannot be had, as of a file that was closed or cut off.
    """
    file = io.BytesIO()
    try:
        if image.mode in PNG_MODES:
            image.save(file, "PNG", compress_level=1)
        else:  # its colour profile is one of its own mode
            image.convert("RGB").save(file, "PNG", compress_level=1, icc_profile=None)
    except (OSError, ValueError, SystemError) as error:  # what PIL raises for pictures without pixels
        raise UsageError(f"this PIL image cannot be written as PNG: {error}; give the file or its bytes") from error
    return file.getvalue()
