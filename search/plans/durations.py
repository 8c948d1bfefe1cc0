"""Lengths of time as people write them: `30d`, `12h`, `2w`."""

import re
from typing import Final

from search.errors import UsageError

DAY_S: Final = 86_400
UNITS: Final = {"h": 3_600, "d": DAY_S, "w": 7 * DAY_S}
LONGEST_S: Final = 3_650 * DAY_S


def seconds_of(text: str, option: str, *, least_s: int = 1) -> int:
    """Return the seconds of a length of time. option: names it in messages.

    Raises:
        UsageError: it is no whole number with h, d or w behind it, below `least_s`, or above ten years.
    """
    found = re.fullmatch(r"(\d{1,6})([hdw])", text.strip())
    seconds = int(found[1]) * UNITS[found[2]] if found else -1
    if not least_s <= seconds <= LONGEST_S:
        raise UsageError(f"{option} {text!r} is no length of time up to ten years: write it as 12h, 30d or 2w")
    return seconds


def days_text(seconds: float) -> str:
    """Return a length of time in days, or in hours below two of them."""
    return f"{seconds / DAY_S:.0f} days" if seconds >= 2 * DAY_S else f"{seconds / UNITS['h']:.0f} hours"
