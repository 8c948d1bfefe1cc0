"""Camera RAW: the JPEG preview that the camera put inside, by LibRaw (extra `raw`).

The sensor's own data is never developed: the preview is the picture as the camera showed it, and a thousand times
cheaper. LibRaw is fed only in decoding children.
"""

import functools
import importlib.util
import io
from typing import Final

from PIL import Image

from search.errors import BadImage

MISSING: Final = "camera RAW files need the extra `raw`: pip install 'lookalike[raw]'"
_ORIENTATION: Final = 0x0112
# LibRaw's word for how to turn a picture (sizes.flip), as the EXIF orientation.
_TURNS: Final = {3: 3, 5: 8, 6: 6}


class RawPhotograph(BadImage):
    """A camera's RAW file, of which only the preview can be shown."""


@functools.cache
def installed() -> bool:
    """Tell whether previews can be read here."""
    return importlib.util.find_spec("rawpy") is not None


def preview(data: bytes) -> bytes:
    """Return the largest embedded JPEG of a RAW file, with its orientation in its EXIF data.

    Raises:
        BadImage: the extra is missing, or the file holds no JPEG that can be read.
    """
    if not installed():
        raise BadImage("unsupported_format", MISSING)
    import rawpy

    try:
        with rawpy.imread(io.BytesIO(data)) as raw:
            found = raw.extract_thumb()
            turn = _TURNS.get(raw.sizes.flip, 1)
    except (rawpy.LibRawNoThumbnailError, rawpy.LibRawUnsupportedThumbnailError) as error:
        raise BadImage("unsupported_format", "this RAW file holds no preview") from error
    except rawpy.LibRawFileUnsupportedError as error:
        raise BadImage("unsupported_format", "LibRaw does not know this kind of RAW file") from error
    except rawpy.LibRawError as error:
        raise BadImage("corrupt", f"LibRaw cannot read it: {_said(error)}") from error
    if found.format != rawpy.ThumbFormat.JPEG:
        raise BadImage("unsupported_format", "the preview of this RAW file is no JPEG")
    return _turned(bytes(found.data), turn)


def _turned(jpeg: bytes, turn: int) -> bytes:
    """Return the JPEG with an orientation; what its own EXIF data says, stays."""
    if turn == 1:
        return jpeg
    try:
        with Image.open(io.BytesIO(jpeg), formats=["JPEG"]) as image:
            if _ORIENTATION in image.getexif():
                return jpeg
    except Exception:  # noqa: BLE001 -- whatever is wrong with it, decoding it says so by name
        return jpeg
    exif = Image.Exif()
    exif[_ORIENTATION] = turn
    block = exif.tobytes()
    block = block if block.startswith(b"Exif\0\0") else b"Exif\0\0" + block
    # An APP1 segment straight after the start marker: the picture's own bytes are not touched.
    return jpeg[:2] + b"\xff\xe1" + (len(block) + 2).to_bytes(2, "big") + block + jpeg[2:]


def _said(error: Exception) -> str:
    words = error.args[0] if error.args else error
    return words.decode("utf-8", "replace") if isinstance(words, bytes) else str(words)
