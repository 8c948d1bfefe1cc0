"""When a picture was taken, as its camera says.

EXIF has DateTimeOriginal (the shutter) and DateTimeDigitized (the scanner, for film); DateTime only says when a program
last saved the file, and is not asked. The tags are local time without a zone (EXIF 2.32, 4.6.5). Must never import
torch: it runs in decoding children.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from PIL import Image

_EXIF_DIRECTORY: Final = 0x8769
_ORIGINAL, _DIGITIZED = 0x9003, 0x9004
_WRITTEN: Final = re.compile(r"(\d{4})[:./-](\d\d)[:./-](\d\d)[T ](\d\d):(\d\d):(\d\d)", re.ASCII)
# The first photograph, and a clock that was never set right: everything outside is no date of a picture.
_YEARS: Final = range(1826, 2100)


def taken_at(image: Image.Image) -> str | None:
    """Return the moment as 2024-01-31T23:59:59, None when the picture says nothing or nonsense.

    image: opened; one that is no JPEG must be loaded, too, as its EXIF data may follow its pixels.
    """
    try:
        tags: Mapping[int, object] = image.getexif().get_ifd(_EXIF_DIRECTORY)
        return _moment(tags.get(_ORIGINAL)) or _moment(tags.get(_DIGITIZED))
    except Exception:  # noqa: BLE001 -- damaged EXIF data fails in many ways and is no reason to refuse a picture
        return None


def _moment(value: object) -> str | None:
    text = value.decode("ascii", "replace") if isinstance(value, bytes) else value
    # What follows the seconds, such as a fraction or a zone, is not asked of any camera.
    found = _WRITTEN.match(text.strip()) if isinstance(text, str) else None
    if found is None:
        return None
    try:
        moment = datetime(*(int(part) for part in found.groups()))  # type: ignore[arg-type]
    except ValueError:  # 0000:00:00 00:00:00 is what cameras write that do not know
        return None
    return moment.isoformat() if moment.year in _YEARS else None
