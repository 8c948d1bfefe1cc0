"""What is known of scores right now, and what that makes of matches."""

import logging
from collections.abc import Sequence
from dataclasses import replace

from search.calibration.calibration import REVIEW, Calibration
from search.calibration.calibrations import Calibrations
from search.database.database import Database
from search.errors import CorruptFile
from search.finding.snapshot import Snapshot
from search.records import Match

CERTAIN = 1.0  # of the same pixels

log = logging.getLogger(__name__)


def current_calibration(database: Database, snapshot: Snapshot) -> Calibration | None:
    """Return the newest calibration of a snapshot's space and transform, None where there is none that holds."""
    fingerprint = snapshot.transform.fingerprint
    try:
        found = Calibrations(database).newest(snapshot.collection, fingerprint)
    except CorruptFile as error:
        log.warning("searching without a calibration: %s", error)
        return None
    if found is None or found.objection(snapshot.collection.space_id, fingerprint, len(snapshot)) is not None:
        return None
    return found


def with_probability(matches: Sequence[Match], known: Calibration | None, *, looked: bool) -> list[Match]:
    """Return matches with how probable it is that they show the query's picture, where that is known.

    looked: pixels were looked at, and a score is the best of several views: what is known of the cosine of the whole
    picture says nothing of it, but what was verified is as good as verification is.
    """
    return [
        match if (found := _probability(match, known, looked=looked)) is None else replace(match, probability=found)
        for match in matches
    ]


def _probability(match: Match, known: Calibration | None, *, looked: bool) -> float | None:
    if known is None:
        return None
    if match.relation == "identical":
        return CERTAIN
    if match.region is not None and not looked:
        return None  # what is known of scores is known of those of whole pictures
    if looked:
        # Below that it says how little was looked at, and nothing about the match.
        shown = known.verified is not None and known.verified >= REVIEW
        return known.verified if shown and match.verified == "yes" else None
    found = known.probability(match.score)
    return None if found is None else round(found, 6)
