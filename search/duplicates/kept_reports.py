"""The reports of dedup jobs, kept in the catalogue: the groups as they were found, a page at a time, with no pixels.

What changed since is told when a report is read: metadata is that of now, images that went are left out, and so are
copies of which a person has said by now that they are none.
"""

import json
import time
from collections.abc import Collection as Some
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from sqlalchemy import Connection, delete, insert, or_, select

from search.database.bulk import insert_rows
from search.database.database import Database, chunks
from search.database.tables import duplicate_group, duplicate_report
from search.duplicates.groups import DuplicateKind
from search.duplicates.report import DuplicateReport
from search.duplicates.report_counts import ScoreCounts, kinds_of, scores_of
from search.errors import ReportNotFound
from search.records import Collection, ImageRecord
from search.storing.catalogue import Catalogue
from search.storing.verdicts import Verdict, Verdicts

KEPT: Final = 4  # reports of a collection
_AT_ONCE: Final = 1_000  # groups of a transaction, so that nobody waits for long
_GROUP = ("report_id", "number", "shape")


@dataclass(frozen=True, slots=True)
class ReportFacts:
    """What is known of a report. threshold_source: who says which scores count. sequence: the commit of the collection
    that was compared. verdicts: how many were said then. between, within: where not the whole collection was compared
    with itself. kinds: how many copies there are of each; None of reports that did not count them. scores: of the near
    copies, None where there are none.
    """

    threshold: float
    threshold_source: str
    images: int
    groups_total: int
    copies_total: int
    bytes_reclaimable: int
    sequence: int
    plan: str | None = None
    between: str | None = None
    within: str | None = None
    kinds: dict[DuplicateKind, int] | None = None
    scores: ScoreCounts | None = None

    @property
    def is_whole(self) -> bool:
        """Tell whether all of the collection was compared, and only with itself."""
        return self.between is None and self.within is None


@dataclass(frozen=True, slots=True)
class KeptReport:
    """A report that is kept. made_at: seconds since 1970."""

    id: int
    made_at: float
    facts: ReportFacts


def facts_of(
    target: Collection,
    report: DuplicateReport,
    source: str,
    *,
    plan: str | None,
    between: str | None = None,
    within: str | None = None,
) -> ReportFacts:
    """Return what is to be known of a report. target: the collection as it was compared."""
    copies = sum(len(group.members) for group in report.groups)
    counts = (report.images, len(report.groups), copies, report.bytes_reclaimable)
    kinds, scores = kinds_of(report.groups), scores_of(report.groups, report.threshold)
    return ReportFacts(report.threshold, source, *counts, target.sequence, plan, between, within, kinds, scores)


class KeptReports:
    """Reads and writes the reports of all collections."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def keep(self, target: Collection, report: DuplicateReport, facts: ReportFacts) -> int:
        """Keep a report, and let old ones of the collection go; return its id. It is seen when it is complete.

        Raises:
            StoreUnavailable: the database is locked, full or read-only; there is no such report then.
        """
        # The groups first, under an id that nobody knows yet: one transaction of them all would keep others waiting.
        with self._database.writing() as connection:
            values = {"collection_id": -target.id, "made_at": time.time(), "facts": json.dumps(asdict(facts))}
            made = insert(duplicate_report).values(values).returning(duplicate_report.c.id)
            report_id = int(connection.execute(made).scalar_one())
        for part in chunks(enumerate(report.groups), _AT_ONCE):
            groups = [(report_id, number, json.dumps(group.as_json())) for number, group in part]
            with self._database.writing() as connection:
                insert_rows(connection, duplicate_group, _GROUP, groups)
        with self._database.writing() as connection:
            mine = duplicate_report.c.id == report_id
            connection.execute(duplicate_report.update().where(mine).values(collection_id=target.id))
            _drop(connection, _old(connection, target.id))
        return report_id

    def newest(self, target: Collection, threshold: float | None = None) -> KeptReport:
        """Return the last report of all images of a collection. threshold: the last that somebody chose it for.

        Raises:
            ReportNotFound: there is none.
        """
        for one in self.all(target):
            chosen = one.facts.threshold_source == "user" and one.facts.threshold == threshold
            if one.facts.is_whole and (threshold is None or chosen):
                return one
        raise ReportNotFound(_none(target.name, threshold))

    def page(
        self, report: KeptReport, first: int, limit: int, kinds: Some[DuplicateKind] = ()
    ) -> list[tuple[int, dict[str, Any]]]:
        """Return (number, group) of a report from a number on, as they were when it was made; largest first.

        kinds: only groups with a copy of one of these kinds.
        """
        column, found = duplicate_group.c, list[tuple[int, dict[str, Any]]]()
        query = select(column.number, column.shape).where(column.report_id == report.id).order_by(column.number)
        if kinds:
            # Metadata may say the same, so that the groups are looked at again below.
            query = query.where(or_(*(column.shape.contains(f'"kind": "{kind}"', autoescape=True) for kind in kinds)))
        while len(found) < limit:
            with self._database.reading() as connection:
                rows = connection.execute(query.where(column.number >= first).limit(limit)).all()
            groups = [(row.number, json.loads(row.shape)) for row in rows]
            found += [one for one in groups if not kinds or of_kinds(one[1], kinds)["members"]]
            if len(rows) < limit:
                break
            first = rows[-1].number + 1
        return found[:limit]

    def all(self, target: Collection) -> list[KeptReport]:
        """Return the reports of a collection that are kept, newest first."""
        query = select(duplicate_report.c.id, duplicate_report.c.made_at, duplicate_report.c.facts)
        query = query.where(duplicate_report.c.collection_id == target.id)
        with self._database.reading() as connection:
            rows = connection.execute(query.order_by(duplicate_report.c.id.desc())).all()
        return [KeptReport(row.id, row.made_at, ReportFacts(**json.loads(row.facts))) for row in rows]


def current_groups(
    catalogue: Catalogue, target: Collection, groups: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Return groups of a report as they are now: without what went or is no copy by now; empty ones are left out."""
    ids = {int(one["id"]) for group in groups for one in (group["keeper"], *group["members"])}
    now = catalogue.images_by_id(target.id, ids)
    verdicts = {(one.first.hex(), one.second.hex()): one for one in Verdicts(catalogue.database).all()}
    found = []
    for group in groups:
        keeper = _renewed(group["keeper"], now)
        copies = [_spoken(group["keeper"], one, verdicts) for one in group["members"] if _renewed(one, now)]
        members = [one for one in (_renewed(copy, now) for copy in copies if copy is not None) if one is not None]
        if keeper is not None and members:
            answered = all(one["confirmed"] for one in members)
            found.append({**group, "keeper": keeper, "members": members, "answered": answered})
    return found


def of_kinds(group: Mapping[str, Any], kinds: Some[DuplicateKind]) -> dict[str, Any]:
    """Return a group with only those of its copies that are of these kinds."""
    return {**group, "members": [one for one in group["members"] if one["kind"] in kinds]}


def _renewed(shape: Mapping[str, Any], now: Mapping[int, ImageRecord]) -> dict[str, Any] | None:
    """Return an image of a group with the metadata of now; None where it went, or holds another picture."""
    record = now.get(int(shape["id"]))
    if record is None or record.sha256.hex() != shape["sha256"]:
        return None
    return {name: value for name, value in shape.items() if name != "metadata"} | record.as_json()


def _spoken(
    keeper: Mapping[str, Any], member: Mapping[str, Any], verdicts: Mapping[tuple[str, str], Verdict]
) -> dict[str, Any] | None:
    """Return a copy with what people say of it and its keeper now; None where they say that both stay."""
    first, second = sorted((keeper["sha256"], member["sha256"]))
    said = verdicts.get((first, second))
    if said is not None and (said.keeps_apart or said.keeps_all):
        return None
    return {**member, "confirmed": said is not None and said.is_duplicate}


def _old(connection: Connection, collection_id: int) -> list[int]:
    """Return the reports that newer ones replace, and what was left of half-kept ones a day ago."""
    report = duplicate_report.c
    newest = select(report.id).where(report.collection_id == collection_id).order_by(report.id.desc()).offset(KEPT)
    half = select(report.id).where(report.collection_id == -collection_id, report.made_at < time.time() - 86_400)
    return [*connection.execute(newest.limit(1_000)).scalars(), *connection.execute(half).scalars()]


def _drop(connection: Connection, ids: Sequence[int]) -> None:
    for table, column in (
        (duplicate_group, duplicate_group.c.report_id),
        (duplicate_report, duplicate_report.c.id),
    ):
        if ids:
            connection.execute(delete(table).where(column.in_(ids)))


def _none(name: str, threshold: float | None) -> str:
    how = "" if threshold is None else f" from a score of {threshold:g}"
    body = "{}" if threshold is None else f'{{"threshold": {threshold:g}}}'
    return (
        f"nobody has looked for duplicates in {name}{how} so far, or newer reports came since: "
        f"POST {body} to /v1/collections/{name}/dedup starts a job that does"
    )
