"""Dates of conditions: how they are written, and the moments they stand for.

A moment is stored as text, `2024-01-31T23:59:59`, the local time of a camera. A date is the beginning of such a text:
`2024-01` stands for every moment that begins with it. Texts of this form sort like the moments, byte by byte.
"""

import re
from datetime import datetime

EXAMPLES = "2024, 2024-03, 2024-03-31 or 2024-03-31T23:59"
_WRITTEN = re.compile(
    r"(\d{4})(?:-(\d\d)(?:-(\d\d)(?:[Tt ](\d\d)(?::(\d\d)(?::(\d\d))?)?)?)?)?",
    re.ASCII,
)
_AFTER_ALL = "~"  # sorts after everything that a moment can go on with


def date(text: str) -> str | None:
    """Return a date as the texts of its moments begin, None when it is none: no such form, or not in the calendar."""
    written = text.strip()
    found = _WRITTEN.fullmatch(written)
    if found is None:
        return None
    year, month, day, hour, minute, second = found.groups()
    try:
        datetime(int(year), int(month or 1), int(day or 1), int(hour or 0), int(minute or 0), int(second or 0))
    except ValueError:
        return None
    return written.upper().replace(" ", "T")


def end(date: str) -> str:
    """Return a text that sorts after all moments of a date and before all later ones."""
    return date + _AFTER_ALL
