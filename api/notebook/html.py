"""Matches and duplicate groups as HTML for notebooks: one string without scripts, whose size has a limit.

Colours are those of the notebook, light or dark; style sheets are not used, as some viewers drop them.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Final

from api.console import counted, shown_pixels, shown_place, size_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from api.notebook.small_pictures import SmallPictures
    from search.duplicates.groups import DuplicateGroup
    from search.duplicates.report import DuplicateReport
    from search.records import ImageRecord, Match

SHOWN_MATCHES: Final = 60
SHOWN_GROUPS: Final = 20
SHOWN_MEMBERS: Final = 7
LETTERS: Final = 300  # of a place, whose last ones tell most
MOST_LETTERS: Final = 1 << 20  # of all pictures in one output: what is beyond is shown without

_TILES = "display:flex;flex-wrap:wrap;gap:12px;align-items:flex-start;margin:4px 0 12px"
_TILE = "margin:0;width:160px;font-size:12px;line-height:1.35;overflow-wrap:anywhere"
_FRAME = "display:flex;width:160px;height:120px;align-items:center;justify-content:center;margin-bottom:4px"
_PICTURE = "max-width:160px;max-height:120px;margin:0"
_FAINT = "opacity:.65"


class _Room:
    """Gives the pictures of one output, as long as there is room for them."""

    def __init__(self, pictures: SmallPictures) -> None:
        self._pictures = pictures
        self._left = MOST_LETTERS

    def picture(self, image: ImageRecord) -> str:
        uri = self._pictures.uri(image) if self._left > 0 else None
        if uri is None or len(uri) > self._left:
            return f'<span style="{_FAINT}">no picture</span>'
        self._left -= len(uri)
        return f'<img src="{uri}" alt="{_place(image)}" style="{_PICTURE}">'


def matches_html(matches: Sequence[Match], pictures: SmallPictures) -> str:
    """Return the matches of a query as tiles, best first."""
    if not matches:
        return "<p>no matches</p>"
    room = _Room(pictures)
    tiles = [_tile(room, match.image, _about_match(match)) for match in matches[:SHOWN_MATCHES]]
    return _tiles(tiles) + _more(len(matches) - SHOWN_MATCHES, "match", "matches")


def report_html(report: DuplicateReport, pictures: SmallPictures) -> str:
    """Return duplicate groups, the image to keep first in each."""
    copies = sum(len(group.members) for group in report.groups)
    found = f"{counted(len(report.groups), 'group', 'groups')} with {counted(copies, 'copy', 'copies')}"
    head = f"<p>{found} ({size_text(report.bytes_reclaimable)}) among {counted(report.images, 'image', 'images')}</p>"
    room = _Room(pictures)
    groups = [_group(room, number, group) for number, group in enumerate(report.groups[:SHOWN_GROUPS], start=1)]
    return head + "".join(groups) + _more(len(report.groups) - SHOWN_GROUPS, "group", "groups")


def _group(room: _Room, number: int, group: DuplicateGroup) -> str:
    keeper = _tile(room, group.keeper, [f"<b>keep</b> ({escape(group.reason)})"])
    members = [
        _tile(room, member.image, [f"{escape(member.kind.replace('_', ' '))} <b>{member.score:.3f}</b>"])
        for member in group.members[:SHOWN_MEMBERS]
    ]
    more = _more(len(group.members) - SHOWN_MEMBERS, "copy", "copies")
    return f"<div><b>Group {number}</b>{_tiles([keeper, *members])}{more}</div>"


def _about_match(match: Match) -> list[str]:
    told = [f"<b>{match.score:.3f}</b> {escape(match.relation.replace('_', ' '))}"]
    if match.probability is not None:
        told.append(f"probability {match.probability:.3f}")
    if match.copies:
        told.append(f"+{counted(match.copies, 'copy', 'copies')}")
    if match.image.labels:
        told.append(escape(match.image.labels[0].label.split(",")[0]))
    return told


def _tile(room: _Room, image: ImageRecord, lines: Iterable[str]) -> str:
    """Return a picture with lines of HTML below it, and what is known of any image."""
    facts = f'<span style="{_FAINT}">{image.id} · {shown_pixels(image)} · {size_text(image.size_bytes)}</span>'
    place = _place(image)
    name = f'<span title="{place}">{place.rsplit("/", maxsplit=1)[-1]}</span>'
    text = "<br>".join((*lines, facts, name))
    return f'<figure style="{_TILE}"><span style="{_FRAME}">{room.picture(image)}</span>{text}</figure>'


def _place(image: ImageRecord) -> str:
    place = shown_place(image)
    return escape(place if len(place) <= LETTERS else f"…{place[-LETTERS:]}")


def _tiles(tiles: Iterable[str]) -> str:
    return f'<div style="{_TILES}">{"".join(tiles)}</div>'


def _more(number: int, one: str, many: str) -> str:
    return f'<p style="{_FAINT}">and {counted(number, f"more {one}", f"more {many}")}</p>' if number > 0 else ""
