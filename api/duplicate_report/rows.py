"""What the tables of a duplicate report hold: a row for each image of a group, its keeper first."""

import json
from collections.abc import Iterator, Sequence
from typing import Final

from search.duplicates.groups import DuplicateGroup, DuplicateMember
from search.records import ImageRecord, shown_path

COLUMNS: Final = (
    "group",
    "role",
    "id",
    "key",
    "uri",
    "path",
    "sha256",
    "width",
    "height",
    "bytes",
    "format",
    "taken_at",
    "keeper_id",
    "keeper_sha256",
    "reason",
    "score",
    "relation",
    "kind",
    "verified",
    "probability",
    "confirmed",
    "edits",
    "copy_of",
)

Row = dict[str, str | int | float | bool | None]


def rows_of(groups: Sequence[DuplicateGroup]) -> Iterator[Row]:
    """Yield the rows of groups, numbered from 1. reason: of the keeper; the columns from score on: of members.

    edits: JSON, as the command line prints it. copy_of: id of the image with the same pixels that stands in for it.
    """
    for number, group in enumerate(groups, start=1):
        yield _row(number, group, group.keeper, None)
        for member in group.members:
            yield _row(number, group, member.image, member)


def group_json(group: DuplicateGroup) -> dict[str, object]:
    """Return a group as the command line prints it, with the sha256 of each image, by which verdicts name it."""
    shape = group.as_json()
    keeper, members = shape["keeper"], shape["members"]
    assert isinstance(keeper, dict)  # noqa: S101 -- as `DuplicateGroup.as_json` makes them
    assert isinstance(members, list)  # noqa: S101
    named = zip(members, group.members, strict=True)
    return shape | {
        "keeper": keeper | {"sha256": group.keeper.sha256.hex()},
        "members": [one | {"sha256": member.image.sha256.hex()} for one, member in named],
    }


def _row(number: int, group: DuplicateGroup, image: ImageRecord, member: DuplicateMember | None) -> Row:
    row: Row = dict.fromkeys(COLUMNS)
    row |= {
        "group": number,
        "role": "keeper" if member is None else "member",
        "id": image.id,
        "key": image.key,
        "uri": image.uri,
        "path": shown_path(image.uri),
        "sha256": image.sha256.hex(),
        "width": image.width,
        "height": image.height,
        "bytes": image.size_bytes,
        "format": image.format,
        "taken_at": image.taken_at,
        "keeper_id": group.keeper.id,
        "keeper_sha256": group.keeper.sha256.hex(),
    }
    if member is None:
        return row | {"reason": group.reason}
    edits = None if member.edits is None else json.dumps([edit.as_json() for edit in member.edits])
    return row | {
        "score": member.score,
        "relation": member.relation,
        "kind": member.kind,
        "verified": member.verified,
        "probability": member.probability,
        "confirmed": member.confirmed,
        "edits": edits,
        "copy_of": None if member.copy_of is None else member.copy_of.id,
    }
