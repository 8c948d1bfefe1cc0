"""How a condition that cannot be understood is refused: in words, with its place, and with a caret under that place."""

import unicodedata

from search.errors import BadCondition

SHOWN_COLUMNS = 72
_BEFORE = 40  # columns of a long condition that are shown before the place
_DOTS = "…"


class Misplaced(Exception):  # noqa: N818 -- never seen outside: parse turns it into a BadCondition
    """Something at a place of a condition is wrong. at: letters before the place."""

    def __init__(self, at: int, what: str, remedy: str) -> None:
        super().__init__(f"{what} {remedy}")
        self.at = at


def bad_condition(text: str, wrong: Misplaced) -> BadCondition:
    """Return the error to raise over a condition."""
    message = f"where, at character {wrong.at + 1}: {wrong}"
    return BadCondition(message, position=wrong.at + 1, drawing=drawn(text, wrong.at))


def drawn(text: str, at: int) -> str:
    """Return two lines: the condition, or the part of it around a place, and a caret under the place.

    at: letters before the place, at most len(text), which is the end.
    """
    # One cell for each letter, so that nothing moves the cursor: newlines are spaces here.
    cells = [letter if letter.isprintable() else " " for letter in text]
    start = 0
    if _columns(cells) > SHOWN_COLUMNS:
        start = _start(cells[:at], _BEFORE)
    shown, used = [_DOTS] if start else [], 1 if start else 0
    for place, cell in enumerate(cells[start:], start=start):
        if used + _columns([cell]) > SHOWN_COLUMNS - 1 and place < len(cells) - 1:
            shown.append(_DOTS)
            break
        shown.append(cell)
        used += _columns([cell])
    before = _columns(cells[start:at]) + (1 if start else 0)
    return f"{''.join(shown)}\n{' ' * before}^"


def _start(cells: list[str], columns: int) -> int:
    """Return from which cell on at most so many columns are left."""
    used, start = 0, len(cells)
    while start > 0 and used + _columns([cells[start - 1]]) <= columns:
        start -= 1
        used += _columns([cells[start]])
    return start


def _columns(cells: list[str]) -> int:
    """Return how many columns of a terminal some letters take."""
    return sum(_width(cell) for cell in cells)


def _width(cell: str) -> int:
    if unicodedata.combining(cell):
        return 0
    return 2 if unicodedata.east_asian_width(cell) in "WF" else 1
