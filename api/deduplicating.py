"""The journey `dedup`: what the scores are worth, found out first where nobody knows, then groups."""

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Final

from api.named_pictures import real_path
from api.queries import DedupThreshold, ThresholdSource, require_cosine
from api.work_progress import Advance, Unit
from search.calibration.calibration import AUTOMATIC, PREVALENCE, REVIEW
from search.calibration.thresholds import sources_needed
from search.duplicates.keeper_rules import KeeperRules
from search.duplicates.report import DuplicateReport
from search.errors import UsageError
from search.records import Collection

if TYPE_CHECKING:
    from api.workspace import Workspace

Bar = Callable[[str, Unit], AbstractContextManager[Advance]]


@dataclass(frozen=True, slots=True)
class DedupOptions:
    """What is wanted. threshold: instead of the precision. calibrate: first, where nobody has. within: only images
    below this folder. between: the name of another collection; only pairs with its images count.

    Raises:
        UsageError: a number is none that can be wanted.
    """

    threshold: float | None = None
    precision: float = AUTOMATIC
    calibrate: bool = True
    rules: KeeperRules = field(default_factory=KeeperRules)
    within: Path | None = None
    between: str | None = None

    def __post_init__(self) -> None:
        # Python hands over whatever a caller writes.
        require_cosine("threshold", self.threshold)
        if not (isinstance(self.precision, Real) and REVIEW <= self.precision < 1):
            raise UsageError(f"precision is {self.precision!r}, choose {REVIEW} to less than 1")


def require_folders(name: str, folders: Sequence[str | os.PathLike[str]]) -> None:
    """Refuse a folder that is not there: a mistyped one would protect nothing, and nobody would notice.

    name: of the option, for messages. Folders may begin with ~.

    Raises:
        UsageError: it does not exist, or is no folder.
    """
    for folder in folders:
        if not real_path(Path(folder)).is_dir():
            raise UsageError(f"{name} {os.fspath(folder)} is no folder that exists; nothing was done")


@dataclass(frozen=True, slots=True)
class Deduplicated:
    """The groups, who stands for the threshold, and what a reader should know about it."""

    report: DuplicateReport
    source: ThresholdSource
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Told:
    """Who is told how far it is. bar: gives what shows one step. say: a sentence. estimate: seconds of calibrating."""

    bar: Bar = lambda _what, _unit: nullcontext(lambda _done, _total: None)
    say: Callable[[str], None] = lambda _note: None
    estimate: Callable[[float], None] = lambda _seconds: None


NOBODY: Final = Told()


def deduplicate(workspace: "Workspace", target: Collection, options: DedupOptions, told: Told = NOBODY) -> Deduplicated:
    """Return the duplicate groups of a collection, calibrating it first where that is wanted and nobody has.

    Raises:
        LookalikeError: by name, whatever stopped it.
    """
    _require_images(workspace, target, options)
    chosen, notes = _threshold(workspace, target, options, told)
    request = workspace.duplicates.request(target, chosen, options.rules, options.within)
    with told.bar("compared with all others", "images") as comparing, told.bar("looked at", "images") as looking:
        if options.between is None:
            report = workspace.duplicates.find(target, request, comparing, looking)
        else:
            report = workspace.duplicates.leaks(
                target, workspace.collection(options.between), request, comparing, looking
            )
    return Deduplicated(report, chosen.source, notes)


def _require_images(workspace: "Workspace", target: Collection, options: DedupOptions) -> None:
    """Refuse what would take long and then say nothing: another collection that is not there, a mistyped folder."""
    from search.storing.folders import require_images_below

    other = [] if options.between is None else [workspace.collection(options.between)]
    catalogue, rules = workspace.store.catalogue, options.rules
    for folder in [] if options.within is None else [options.within]:
        require_images_below(catalogue, [target], "within", folder)
    for name, folders in (("protect", rules.protected), ("prefer", rules.preferred)):
        for folder in folders:
            require_images_below(catalogue, [target, *other], name, folder)


def _threshold(
    workspace: "Workspace", target: Collection, options: DedupOptions, told: Told
) -> tuple[DedupThreshold, tuple[str, ...]]:
    """Return the threshold, and what there is to say about it."""
    if options.threshold is not None:
        return workspace.duplicates.threshold(target, options.threshold), ()
    known = workspace.calibration(workspace.snapshot(target))
    if known is None or known.automatic.precision != options.precision:
        objection = _why_not_calibrated(workspace, target, options)
        if objection is not None:
            # A threshold for another precision promises nothing for this one.
            return DedupThreshold(workspace.duplicates.default_threshold(target), "none"), (
                f"{objection}; {_ONLY_SURE}",
            )
        reason = "nobody has calibrated this collection"
        if known is not None:
            reason = (
                f"this collection is calibrated for a precision of {known.automatic.precision:g}, which is replaced"
            )
        told.say(f"{reason}: finding out first what its scores mean; --no-calibrate skips it")
        _calibrate(workspace, target, options, told)
    chosen = workspace.duplicates.threshold(target, None)
    return chosen, () if chosen.source == "calibrated" else (f"too little evidence for a threshold; {_ONLY_SURE}",)


_ONLY_SURE: Final = "only exact copies and pairs whose pixels show the same picture count"


def _why_not_calibrated(workspace: "Workspace", target: Collection, options: DedupOptions) -> str | None:
    """Return why calibrating is not worth beginning, None where it is."""
    if not options.calibrate:
        return "not calibrated, as you asked"
    if target.space.is_imported:
        return "not calibrated: the embeddings were imported"
    needed = sources_needed(options.precision, PREVALENCE)
    pictures = workspace.store.catalogue.count_pictures(target.id, needed)
    if pictures < needed:
        return f"not calibrated: {pictures:,} different images are too few, {needed:,} might do"
    return None


def _calibrate(workspace: "Workspace", target: Collection, options: DedupOptions, told: Told) -> None:
    from api.calibrating import CalibrationRequest, calibrate
    from api.calibrating import Told as CalibratingTold

    with told.bar("asked for, and in edited copies", "images") as asking, told.bar("compared", "pairs") as comparing:
        request = CalibrationRequest(precision=options.precision)
        calibrate(workspace, target, request, CalibratingTold(asking, comparing, told.estimate))
