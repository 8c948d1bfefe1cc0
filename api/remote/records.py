"""What a server answers, as the records that the command line prints."""

from typing import cast

from api.checks import Check
from api.queries import DedupThreshold, Found
from api.shapes.checks import CheckAnswer
from api.shapes.groups import Group, Member
from api.shapes.images import Image
from api.shapes.searches import Match as MatchShape
from api.shapes.searches import SearchAnswer
from search.duplicates.groups import DuplicateGroup, DuplicateMember
from search.finding.ingest_gate import Checked, Evidence
from search.records import Edit, EditKind, ImageRecord, Label, Match, Region


def found(answer: SearchAnswer) -> Found:
    """Return the answer to a query."""
    took = answer.took_ms
    times = (took.decode or 0.0, took.embed or 0.0, took.search or 0.0, took.verify)
    return Found([match(one) for one in answer.matches], *times, note=answer.note)


def match(shape: MatchShape) -> Match:
    """Return a match."""
    region = shape.region
    return Match(
        image(shape),
        shape.score,
        shape.relation,
        shape.verified,
        _edits(shape),
        shape.probability,
        None if region is None else Region(region.x, region.y, region.width, region.height),
        shape.copies,
    )


def image(shape: Image) -> ImageRecord:
    """Return an image. What servers do not tell is empty."""
    labels = tuple(Label(one.label, one.probability) for one in shape.labels or ())
    return ImageRecord(
        int(shape.id),
        shape.key,
        shape.uri,
        shape.width,
        shape.height,
        shape.bytes,
        shape.format,
        b"",
        b"",
        0.0,
        0,
        shape.metadata or {},
        labels,
        shape.taken_at,
    )


def check(answer: CheckAnswer) -> Check:
    """Return what the gate says."""
    told = answer.evidence
    evidence = Evidence(
        told.same_bytes,
        told.same_pixels,
        told.score,
        None if told.nearest is None else int(told.nearest),
        told.verified,
        told.reason,
        told.inliers,
        told.agreement,
        told.note,
    )
    threshold = None
    if told.threshold is not None and told.threshold_source is not None:
        threshold = DedupThreshold(told.threshold, told.threshold_source)
    copied = None if answer.match is None else match(answer.match)
    return Check(Checked(answer.status, copied, evidence), threshold, answer.took_ms.model_dump())


def group(shape: Group) -> DuplicateGroup:
    """Return a duplicate group."""
    known = {shape.keeper.id: image(shape.keeper)} | {one.id: image(one) for one in shape.members}
    members = tuple(_member(one, known) for one in shape.members)
    return DuplicateGroup(known[shape.keeper.id], shape.keeper.reason, members)


def _member(shape: Member, known: dict[str, ImageRecord]) -> DuplicateMember:
    return DuplicateMember(
        known[shape.id],
        shape.score,
        shape.relation,
        shape.kind,
        shape.verified,
        _edits(shape),
        shape.probability,
        shape.confirmed,
        known.get(shape.copy_of or ""),
    )


def _edits(shape: MatchShape) -> tuple[Edit, ...] | None:
    return None if shape.edits is None else tuple(Edit(cast(EditKind, one.kind), one.amount) for one in shape.edits)
