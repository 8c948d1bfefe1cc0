"""Finding the duplicates of a collection, or of two: which scores count, and what is looked at."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from api.queries import DedupThreshold
from search.duplicates.answer_file import FOLDER as ANSWERS_FOLDER
from search.duplicates.answer_file import AnswerFile
from search.duplicates.keeper_rules import KeeperRules
from search.duplicates.report import DuplicateReport, DuplicateRequest, Told
from search.duplicates.thresholds import default_threshold, least_looked_at
from search.errors import UsageError
from search.index.pair_finder import Progress
from search.records import Collection
from search.storing.uploads import Uploads
from search.storing.verdicts import Verdicts

if TYPE_CHECKING:
    from api.workspace import Workspace

log = logging.getLogger(__name__)


class Duplicates:
    """What a workspace answers about duplicates; it holds nothing of its own."""

    def __init__(self, workspace: "Workspace") -> None:
        self._workspace = workspace

    def threshold(self, target: Collection, asked: float | None) -> DedupThreshold:
        """Return from which score on images are near copies: as asked, as calibrated, or as is usual for the space."""
        if asked is not None:
            return DedupThreshold(asked, "user")
        snapshot = self._workspace.snapshot(target)
        calibrated = self._workspace.calibration(snapshot)
        if calibrated is not None and calibrated.automatic.score is not None:
            return DedupThreshold(calibrated.automatic.score, "calibrated")
        if not snapshot.transform.is_none:
            log.warning(
                "the threshold of %.2f was measured for scores without a transform, and %s is compared after %s; "
                "`lookalike calibrate` measures one, --threshold chooses one",
                default_threshold(target.space),
                target.name,
                snapshot.transform.kind,
            )
        return DedupThreshold(default_threshold(target.space), "none")

    def default_threshold(self, target: Collection) -> float:
        """Return what is usual for the space of a collection, which nobody has measured on it."""
        return default_threshold(target.space)

    def request(
        self,
        target: Collection,
        chosen: DedupThreshold,
        rules: KeeperRules | None = None,
        within: Path | None = None,
    ) -> DuplicateRequest:
        """Return what a dedup job is asked for, with a threshold that was chosen before.

        What the user chose is where it ends; else pairs below are looked at, too, and count where their pixels show it.
        """
        least, rules = least_looked_at(target.space), rules or KeeperRules()
        rules = replace(rules, uploads=Uploads(self._workspace.store).folder)
        known = self._workspace.calibration(self._workspace.snapshot(target))
        if chosen.source == "user":
            return DuplicateRequest(chosen.score, chosen.score, rules, within, known)
        threshold = None if chosen.source == "none" else chosen.score
        # What a calibration would have somebody review is looked at in any case.
        reviewed = None if known is None else known.review.score
        ceiling = default_threshold(target.space) if reviewed is None else reviewed
        ceiling = ceiling if threshold is None else min(ceiling, threshold)
        return DuplicateRequest(threshold, min(least, ceiling), rules, within, known, ceiling)

    def find(
        self,
        target: Collection,
        wanted: DuplicateRequest | float,
        progress: Progress = lambda done, total: None,
        looking: Progress = lambda done, total: None,
    ) -> DuplicateReport:
        """Return the duplicate groups of a collection.

        wanted: a number is the least cosine of a near copy. progress: told (rows compared, rows in all); looking: told
        (pictures whose neighbours were looked at, those that have any).

        Raises:
            UsageError: the threshold is no cosine.
        """
        request = DuplicateRequest(wanted, wanted) if isinstance(wanted, float | int) else wanted
        if not -1 <= request.floor <= 1:
            raise UsageError(f"threshold is {request.floor}, choose -1 to 1")
        from search.duplicates.find_duplicates import Looking, find_duplicates

        snapshot, looks = self._workspace.snapshot(target), self._workspace.accurate_searches()
        pairs = self._workspace.collection_pairs(len(snapshot))
        said, told = Verdicts(self._workspace.store.database).all(), Told(progress, looking)
        with self._answers() as answers:
            eyes = Looking(looks.stored, looks.threads, answers)
            return find_duplicates(snapshot, self._workspace.store.catalogue, request, said, eyes, told, pairs)

    def leaks(
        self,
        target: Collection,
        other: Collection,
        request: DuplicateRequest,
        progress: Progress = lambda done, total: None,
        looking: Progress = lambda done, total: None,
    ) -> DuplicateReport:
        """Return the images of a collection that are copies of images of another one, as groups around the latter.

        Raises:
            UsageError: they are one collection.
            SpaceMismatch: their scores cannot be compared.
        """
        from search.duplicates.find_duplicates import Looking
        from search.duplicates.find_leaks import find_leaks

        snapshot, theirs, looks = (
            self._workspace.snapshot(target),
            self._workspace.snapshot(other),
            self._workspace.accurate_searches(),
        )
        pairs = self._workspace.collection_pairs(len(snapshot) + len(theirs))
        said, told = Verdicts(self._workspace.store.database).all(), Told(progress, looking)
        with self._answers() as answers:
            eyes = Looking(looks.stored, looks.threads, answers)
            return find_leaks(snapshot, theirs, self._workspace.store.catalogue, request, said, eyes, told, pairs)

    def _answers(self) -> AnswerFile:
        """Return what earlier runs saw of pictures, and where this one keeps what it sees."""
        from search.geometry.answer_version import answers_version

        return AnswerFile(self._workspace.store.root / ANSWERS_FOLDER, answers_version())
