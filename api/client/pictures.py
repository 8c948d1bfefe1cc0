"""Pictures as callers have them, made bytes to send."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from api.client.calls import Part
from api.picture_bytes import as_file
from search.errors import UsageError

if TYPE_CHECKING:
    from api.picture_bytes import Picture


def picture_part(picture: "Picture", field: str = "image") -> Part:
    """Return a picture as a part of a form: a file by its path, the bytes of one, a PIL image, or an array.

    An array is (height, width) or (height, width, 3 or 4), uint8, RGB.

    Raises:
        UsageError: the file cannot be read, or this is none of them.
    """
    if isinstance(picture, str | os.PathLike):
        return _file(Path(picture), field)
    data, name = as_file(picture)
    return Part(field, name, data)


def _file(path: Path, field: str) -> Part:
    try:
        data = path.expanduser().read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}; name a picture file") from error
    except (ValueError, RuntimeError) as error:  # a NUL in it, or ~ and somebody who is not here
        raise UsageError(f"cannot read {str(path)!r}: {error}; name a picture file") from error
    # The name is only shown; a form takes no half characters, which paths of Linux may hold.
    return Part(field, path.name.encode("utf-8", "replace").decode(), data)
