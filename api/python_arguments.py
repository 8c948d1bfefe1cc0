"""What callers of Python hand over, made what it should be or refused in words: Python itself takes anything."""

import os
from collections.abc import Iterable, Mapping
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from api.named_pictures import read_picture
from search.errors import BadImage, UsageError

if TYPE_CHECKING:
    from api.picture_bytes import Picture

MAX_ID: Final = 2**53  # above it, JSON readers lose digits
BOX_NUMBERS: Final = 4


def image_id(name: str, given: object) -> int:
    """Return the id of an image: a whole number, or the text that HTTP and the command line make of it.

    Raises:
        UsageError: it is none.
    """
    digits = isinstance(given, str) and given.isascii() and given.isdecimal() and len(given) <= len(str(MAX_ID))
    number = int(given) if digits or (isinstance(given, Integral) and not isinstance(given, bool)) else -1  # type: ignore[call-overload]
    if not 0 <= number < MAX_ID:
        raise UsageError(f"{name} is {given!r}; give the id of an image, a whole number such as 17")
    return int(number)


def image_ids(name: str, given: object) -> tuple[int, ...]:
    """Return the ids of images; a single one may stand alone.

    Raises:
        UsageError: one is none.
    """
    if isinstance(given, str | Integral) or not isinstance(given, Iterable):
        return (image_id(name, given),)
    return tuple(image_id(name, one) for one in given)


def require_texts(**arguments: object) -> None:
    """Refuse arguments, by their names, that are neither texts nor None.

    Raises:
        UsageError: one is something else.
    """
    for name, given in arguments.items():
        if given is not None and not isinstance(given, str):
            raise UsageError(f"{name} is {given!r}; give a text")


def require_flags(**arguments: object) -> None:
    """Refuse arguments, by their names, that are neither True nor False: "no" would count as yes.

    Raises:
        UsageError: one is something else.
    """
    for name, given in arguments.items():
        if not isinstance(given, bool):
            raise UsageError(f"{name} is {given!r}; give True or False")


def several(name: str, given: object, what: str) -> tuple[str, ...]:
    """Return texts and paths as texts; a single one may stand alone. what: they are, for messages.

    Raises:
        UsageError: there is something else among them.
    """
    alone = isinstance(given, str | os.PathLike) or not isinstance(given, Iterable)
    found: list[str] = []
    for one in [given] if alone else given:  # type: ignore[attr-defined]
        path = os.fspath(one) if isinstance(one, str | os.PathLike) else None
        if not isinstance(path, str):
            raise UsageError(f"{name} is {given!r}; give {what}, or a list of them")
        found.append(path)
    return tuple(found)


def box_of(given: object) -> str | None:
    """Return the part of a picture as requests name it, `120,80,640,480`; None for all of it.

    Raises:
        UsageError: it is neither a text nor four numbers.
    """
    if given is None or isinstance(given, str):
        return given
    numbers = list(given) if isinstance(given, Iterable) else []
    if len(numbers) != BOX_NUMBERS or not all(isinstance(number, Real) for number in numbers):
        raise UsageError(f"box is {given!r}; give x, y, width and height in pixels: (120, 80, 640, 480)")
    return ",".join(str(number) for number in numbers)


def embedding_of(given: object) -> tuple[float, ...] | None:
    """Return the numbers of an embedding, None where there is none.

    Raises:
        UsageError: it is no sequence of numbers.
    """
    if given is None:
        return None
    numbers = given if isinstance(given, Iterable) and not isinstance(given, str | bytes | Mapping) else [None]
    found = list(numbers)
    if not all(isinstance(number, Real) for number in found):
        raise UsageError(f"embedding is a {type(given).__name__}; give the numbers of one, such as an array of (D,)")
    return tuple(float(number) for number in found)


def pictures_of(given: Any) -> tuple["Picture", ...]:  # noqa: ANN401 -- whatever a caller gave
    """Return the pictures that are given, which may be one, none (None), or several.

    Raises:
        UsageError: it is nothing of the kind.
    """
    if given is None:
        return ()
    several = isinstance(given, Iterable) and not (
        isinstance(given, str | os.PathLike | bytes | bytearray | memoryview)
        or hasattr(given, "__array__")
        or hasattr(given, "getbands")
    )
    return tuple(given) if several else (given,)


def read(picture: "Picture") -> tuple[bytes, str]:
    """Return the bytes of a picture, as a file has them, and its name for messages.

    Raises:
        UsageError: there is no such file, it cannot be read, or this is no picture.
        BadImage: it is empty.
    """
    if isinstance(picture, str | os.PathLike):
        return read_picture(Path(picture)), os.fspath(picture)
    from api.picture_bytes import as_file

    data, name = as_file(picture)
    if not data:
        raise BadImage("empty", f"{name} has no bytes")
    return data, name
