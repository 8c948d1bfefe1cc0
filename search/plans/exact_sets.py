"""Near copies that stay where they are, and are exact copies of one another: one of them is enough. Pure.

The star of a group says what each member is to the keeper. Where that is a better near copy, nothing exact would ever
be acted on; so the images with the same pixels are looked at as a star of their own, around their stand-in.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from typing import Final

from search.duplicates.groups import EXACT, DuplicateKind
from search.plans.plan import PlannedFile, PlannedGroup, PlannedMember

REASON: Final = "stands in for exact copies"
_CERTAIN: Final = 1.0  # score of the same pixels


def exact_sets(
    group: PlannedGroup, staying: Sequence[PlannedMember], going: Collection[str], *, same_bytes: bool
) -> Iterator[PlannedGroup]:
    """Yield groups around what stays, whose members need not.

    staying: members that nothing else is done with. going: uris of files that are acted on, or were before, so that
    nothing can be kept for their sake. same_bytes: whether what goes must have the bytes of what stays, as for links.
    """
    kept_for = {file.image_id: file for file in (group.keeper, *group.stand_ins)}
    sets: defaultdict[tuple[int, str], list[PlannedMember]] = defaultdict(list)
    for member in staying:
        sets[_same_pixels_as(group, member), member.file.sha256 if same_bytes else ""].append(member)
    for (stand_in, sha256), members in sets.items():
        kept = kept_for.get(stand_in, members[0].file)
        if same_bytes and kept.sha256 != sha256:
            kept = members[0].file
        copies = tuple(_copy(kept, member) for member in members if member.file.uri != kept.uri)
        if copies and kept.uri not in going and kept.same_as is None:
            yield PlannedGroup(group.number, kept, REASON, copies)


def _same_pixels_as(group: PlannedGroup, member: PlannedMember) -> int:
    """Return the id of the image that a member has the pixels of: that of the keeper, of its stand-in, or its own."""
    if member.kind in EXACT:
        return group.keeper.image_id
    return member.file.image_id if member.copy_of is None else member.copy_of


def _copy(kept: PlannedFile, member: PlannedMember) -> PlannedMember:
    """Return a member as what it is to another image than the keeper."""
    one, other = member.file.on_disk, kept.on_disk
    linked = one is not None and other is not None and (one.device, one.inode) == (other.device, other.inode)
    kind: DuplicateKind = "same_bytes" if member.file.sha256 == kept.sha256 else "same_pixels"
    return PlannedMember(member.file, _CERTAIN, "identical", None, kind, member.confirmed, linked)
