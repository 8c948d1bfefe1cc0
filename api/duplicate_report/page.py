"""The report as one HTML file, to be kept, sent and opened anywhere: nothing is loaded from elsewhere."""

import base64
import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from typing import Final
from urllib.parse import unquote

from api.console import counted, member_notes, size_text
from api.duplicate_report.histogram import histogram
from api.duplicate_report.pictures import GroupPictures
from search.duplicates.groups import DuplicateGroup, DuplicateKind, DuplicateMember
from search.duplicates.report import reclaimable
from search.geometry.edits import sentence
from search.records import ImageRecord, shown_path

SHOWN_GROUPS: Final = 1_000
SHOWN_MEMBERS: Final = 24  # of each group
PICTURE_BYTES: Final = 48 * 1024 * 1024
KINDS: Final[dict[DuplicateKind, str]] = {
    "same_bytes": "same bytes",
    "same_pixels": "same pixels",
    "re_encoded": "compressed again",
    "resized": "resized",
    "cropped": "cropped",
    "turned": "turned",
    "edited": "edited",
    "near": "near copy",
}
COUNTING: Final = {
    "calibrated": "Near copies count from a score of {:.3f} on, as calibrated on this collection.",
    "user": "Near copies count from a score of {:.3f} on, as you chose.",
    "none": "Nobody has calibrated the collection: near copies are pairs from a score of {:.3f} on whose pixels show "
    "the same picture.",
}


@dataclass(frozen=True, slots=True)
class ReportFacts:
    """What is said above the groups. made_at: for people. source: who says which scores count. similar: sets of shots
    that look like copies and are none.
    """

    collection: str
    images: int
    threshold: float | None
    source: str
    made_at: str
    similar: int = 0


def page_of(
    facts: ReportFacts,
    groups: Sequence[DuplicateGroup],
    pictures: GroupPictures,
    *,
    shown: int = SHOWN_GROUPS,
    picture_bytes: int = PICTURE_BYTES,
) -> Iterator[str]:
    """Yield the page in parts, a group each. Names are escaped; the page runs no script but its own.

    shown: so many groups have their place in it. picture_bytes: of all pictures in it; groups behind have none.
    """
    style, script = _style(), _script()
    sources = f"default-src 'none'; img-src data:; style-src '{_digest(style)}'; script-src '{_digest(script)}'"
    yield (
        f'<!doctype html>\n<html lang="en" data-report="{_name_of(groups)}">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(sources)}">\n'
        f"<title>Duplicates of {escape(facts.collection)}</title>\n<style>{style}</style>\n</head>\n<body>\n"
    )
    yield from _head(facts, groups)
    yield from _tools(groups[:shown])
    yield "<main>\n"
    yield from _notes(groups, shown)
    if facts.similar:
        sets = counted(facts.similar, "set of similar shots is", "sets of similar shots are")
        why = "bursts, other shots of a scene, RAW and JPEG"
        yield f'<p class="note">{sets} not among the duplicates ({why}): groups.json lists them.</p>\n'
    room = _Room(picture_bytes)
    yield '<div class="groups">\n'
    for number, group in enumerate(groups[:shown], start=1):
        yield from _group(number, group, pictures, room)
    yield "</div>\n"
    if room.spent:
        most = size_text(picture_bytes)
        yield f'<p class="note">The last groups are without pictures: {most} of them are here already.</p>\n'
    yield '<p id="none" class="note" hidden>No copy is left that fits these filters.</p>\n</main>\n'
    yield "<footer>Made by <b>lookalike dedup</b>, which changes nothing. Verdicts saved here are taken over by "
    yield "<b>lookalike verdicts import verdicts.csv</b>.</footer>\n"
    yield f'<script type="module">{script}</script>\n</body>\n</html>\n'


class _Room:
    """How many bytes of pictures may still be written."""

    def __init__(self, left: int) -> None:
        self._left = left
        self.spent = False

    def taken(self, picture: bytes | None) -> str | None:
        """Return a picture as the address of an `img`, None where there is none, or no room."""
        if picture is None or self.spent:
            return None
        self._left -= len(picture)
        self.spent = self._left < 0
        return None if self.spent else "data:image/jpeg;base64," + base64.b64encode(picture).decode("ascii")


def _head(facts: ReportFacts, groups: Sequence[DuplicateGroup]) -> Iterator[str]:
    copies = sum(len(group.members) for group in groups)
    freed = reclaimable(groups)
    title, told = "No duplicates", ""
    if groups:
        title = f"{counted(copies, 'copy', 'copies')} in {counted(len(groups), 'group', 'groups')}"
    if facts.threshold is not None:
        told = COUNTING[facts.source].format(facts.threshold)
    numbers = (
        (f"{len(groups):,}", "groups"),
        (f"{copies:,}", "copies"),
        (size_text(freed), "would be freed"),
        (f"{facts.images:,}", "images compared"),
    )
    totals = "".join(f"<div><dt>{what}</dt><dd>{number}</dd></div>" for number, what in numbers)
    yield (
        f'<header><div><p class="quiet">Lookalike · {escape(facts.collection)} · {escape(facts.made_at)}</p>'
        f"<h1>{title}</h1>"
        '<p class="lead">Each group is an image to keep and the copies of it. Nothing was changed. '
        f'{told}</p><dl class="totals">{totals}</dl></div>{histogram(groups, facts.threshold)}</header>\n'
    )


def _tools(groups: Sequence[DuplicateGroup]) -> Iterator[str]:
    kinds = Counter(member.kind for group in groups for member in group.members)
    chips = "".join(
        f'<button type="button" data-kind-chip="{kind}" aria-pressed="false">{name}<b>{kinds[kind]:,}</b></button>'
        for kind, name in KINDS.items()
        if kinds[kind]
    )
    yield (
        '<div id="tools" hidden><div>'
        '<div class="chips" role="group" aria-label="Show copies of one kind">'
        '<button type="button" data-kind-chip="" aria-pressed="true">all'
        f"<b>{sum(kinds.values()):,}</b></button>{chips}</div>"
        '<div class="review"><label><input type="checkbox" id="open"> not reviewed</label>'
        '<progress id="progress" value="0" max="1" aria-labelledby="reviewed"></progress><span id="reviewed"></span>'
        '<button type="button" id="undo">Undo</button>'
        '<button type="button" id="save" disabled>Save verdicts</button></div></div></div>\n'
        '<p id="told" class="unseen" aria-live="polite"></p>\n'
    )


def _notes(groups: Sequence[DuplicateGroup], shown: int) -> Iterator[str]:
    keys = (
        (("←", "→"), "move"),
        (("D",), "a duplicate"),
        (("N",), "not a duplicate"),
        (("K",), "keep both"),
        (("U",), "undo"),
        (("X",), "what differs"),
    )
    told = "".join(f"<span>{' '.join(f'<kbd>{key}</kbd>' for key in names)} {what}</span>" for names, what in keys)
    yield f'<p class="keys">{told}</p>\n<p id="kept" class="quiet" role="status"></p>\n'
    if len(groups) > shown:
        yield (
            f'<p class="note">The first {shown:,} of {len(groups):,} groups are shown here. '
            "groups.csv, groups.json and groups.parquet beside this file hold all of them.</p>\n"
        )


def _group(number: int, group: DuplicateGroup, pictures: GroupPictures, room: _Room) -> Iterator[str]:
    kind = "group pair" if len(group.members) == 1 else "group"
    copies = counted(len(group.members), "copy", "copies")
    told = [f"{size_text(group.bytes_reclaimable)} would be freed"]
    if len(group.members) > 1:
        told.append(f"weakest score {group.weakest:.3f}")
    if len(group.members) > SHOWN_MEMBERS:
        told.append(f"the first {SHOWN_MEMBERS} are shown; all are in groups.csv")
    yield (
        f'<section class="{kind}" aria-labelledby="g{number}"><h2 id="g{number}">Group {number:,}: {copies}'
        f'<span class="quiet">{" · ".join(told)}</span></h2>\n<ul class="tiles">\n'
    )
    picture = None if room.spent else room.taken(pictures.keeper(group.keeper))
    yield (
        f'<li class="tile keeper">{_frame(picture, group.keeper)}'
        f'<p class="facts"><span class="badge">keep</span>{escape(group.reason)}</p>{_named(group.keeper)}</li>\n'
    )
    for member in group.members[:SHOWN_MEMBERS]:
        one, other = (None, None) if room.spent else pictures.member(member)
        yield _member(group.keeper, member, room.taken(one), room.taken(other))
    yield "</ul></section>\n"


def _member(keeper: ImageRecord, member: DuplicateMember, picture: str | None, differs: str | None) -> str:
    image, name = member.image, escape(_last_part(member.image), quote=True)
    asks = image.sha256 != keeper.sha256
    pair = f' data-first="{keeper.sha256.hex()}" data-second="{image.sha256.hex()}" tabindex="-1"' if asks else ""
    facts = [f'<span class="badge">{KINDS[member.kind]}</span>', f"<span>{member.score:.3f}</span>"]
    if member.probability is not None:
        facts.append(f"<span>{100 * member.probability:.1f} %</span>")
    facts += [f"<span>{escape(note)}</span>" for note in member_notes(member, _last_part)]
    edits = ", ".join(sentence(edit) for edit in member.edits or ())
    says = (
        '<div class="says">'
        '<button type="button" data-say="duplicate" aria-pressed="false">Duplicate</button>'
        '<button type="button" data-say="not_duplicate" aria-pressed="false">Not a duplicate</button>'
        '<button type="button" data-say="keep_both" aria-pressed="false">Keep both</button></div>'
    )
    return (
        f'<li class="tile member" data-kind="{member.kind}" data-name="{name}"{pair}>{_frame(picture, image, differs)}'
        f'<p class="facts">{"".join(facts)}<span class="said"></span></p>{_named(image)}'
        f"{f'<p class=details>{escape(edits)}</p>' if edits else ''}{says if asks else ''}</li>\n"
    )


def _frame(picture: str | None, image: ImageRecord, differs: str | None = None) -> str:
    name = escape(_last_part(image), quote=True)
    if picture is None:
        return '<div class="frame quiet">no picture</div>'
    shown = f'<img src="{picture}" alt="{name}" loading="lazy">'
    if differs is None:
        return f'<div class="frame">{shown}</div>'
    glow = f'<img class="differs" src="{differs}" alt="" loading="lazy">'
    return f'<button type="button" class="frame look" aria-pressed="false" title="what differs">{shown}{glow}</button>'


def _named(image: ImageRecord) -> str:
    place = shown_path(image.uri) or image.uri
    return (
        f'<p class="name" title="{escape(place, quote=True)}">{escape(_last_part(image))}</p>'
        f'<p class="details">{escape(_folder(place))}{_pixels(image)} · {size_text(image.size_bytes)}</p>'
    )


def _pixels(image: ImageRecord) -> str:
    return f"{image.width:,} × {image.height:,}" if image.width else "-"


def _last_part(image: ImageRecord) -> str:
    place = shown_path(image.uri) or unquote(image.uri, errors="replace")
    return place.rstrip("/").rpartition("/")[2] or place


def _folder(place: str) -> str:
    above = place.rstrip("/").split("/")[-2:-1]
    return f"{above[0]} · " if above and above[0] else ""


def _name_of(groups: Sequence[DuplicateGroup]) -> str:
    """Return a name that is the same for the same copies: verdicts in a browser belong to it."""
    digest = hashlib.sha256()
    for group in groups:
        for member in group.members:
            digest.update(group.keeper.sha256 + member.image.sha256)
    return digest.hexdigest()[:16]


def _style() -> str:
    return files("api.duplicate_report").joinpath("report.css").read_text("utf-8")


def _script() -> str:
    """Return the script of the page: a file has no others beside it, so what it imports comes before it."""
    review = files("api").joinpath("page", "review.js").read_text("utf-8").replace("\nexport ", "\n")
    report = files("api.duplicate_report").joinpath("report.js").read_text("utf-8")
    lines = [line for line in report.splitlines() if not line.startswith("import ")]
    return review + "\n".join(lines) + "\n"


def _digest(text: str) -> str:
    """Return what a content security policy calls an inline style or script by."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
