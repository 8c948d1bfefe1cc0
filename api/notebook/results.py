"""What `lookalike.Lookalike` answers with: lists and reports as they are, which notebooks show as pictures."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, SupportsIndex, overload

from search.duplicates.report import DuplicateReport
from search.records import Match

if TYPE_CHECKING:
    from collections.abc import Iterable

    from api.notebook.small_pictures import SmallPictures


class Matches(list[Match]):
    """The matches of a query, best first: a list. Notebooks show the pictures of it, and of parts of it."""

    def __init__(self, matches: Iterable[Match], pictures: SmallPictures) -> None:
        super().__init__(matches)
        self._pictures = pictures

    @overload
    def __getitem__(self, place: SupportsIndex) -> Match: ...
    @overload
    def __getitem__(self, place: slice) -> Matches: ...
    def __getitem__(self, place: SupportsIndex | slice) -> Match | Matches:
        if isinstance(place, slice):
            return Matches(super().__getitem__(place), self._pictures)
        return super().__getitem__(place)

    def _repr_html_(self) -> str:
        from api.notebook.html import matches_html

        return matches_html(self, self._pictures)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownReport(DuplicateReport):
    """What a dedup job found. Notebooks show the pictures of its groups."""

    pictures: SmallPictures = field(repr=False, compare=False)

    def _repr_html_(self) -> str:
        from api.notebook.html import report_html

        return report_html(self, self.pictures)


def shown(report: DuplicateReport, pictures: SmallPictures) -> ShownReport:
    """Return a report that notebooks show."""
    return ShownReport(
        report.images,
        report.threshold,
        report.groups,
        report.pair_recall,
        report.similar,
        report.floor,
        report.looked_at,
        report.known,
        pictures=pictures,
    )
