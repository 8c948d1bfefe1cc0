"""What people read of `apply`, `undo` and `purge`: a sentence for each thing that was done, or was not, and why."""

from collections.abc import Mapping
from pathlib import Path

from api.console import counted, shown_uri, size_text
from search.plans.apply_plan import ApplyReport
from search.plans.choosing import Left
from search.plans.durations import days_text
from search.plans.purge_quarantine import PurgeReport
from search.plans.undo_plan import NotRestored, UndoReport
from search.records import uri_of_path

SHOWN = 20
LEFT: Mapping[Left, str] = {
    "near": "that nobody confirmed: --include near moves near copies, too, and `lookalike verdicts` confirms them",
    "review": "in groups of more than 50, to be looked at first: confirm them, or say --include near",
    "elsewhere": "in archives, on object storage, gone or changed: --action list names what cannot be moved",
    "uploaded": "sent to the server, in the store: `lookalike remove` takes such an image away with its file",
    "verdict": "to stay, as people have said since the plan was made",
    "other_bytes": "with other bytes than what is kept, which a link would change: --action quarantine moves them",
    "linked": "sharing the data of what is kept already",
    "alias": "under another path of a file of the plan, as through a second mount",
    "protected": "in protected folders",
    "keeper": "of images in archives or on object storage, or sent to the store alone; --action list names them",
    "done": "moved before",
}
# What `--action hardlink` changes beside the space that is freed.
SHARED = "the copy and what is kept are one file from then on, with one mode and one date; an edit of one changes both"


def left_lines(left: Mapping[Left, int]) -> list[str]:
    """Return a line for each reason why copies were left where they are."""
    return [f"left: {counted(left[why], 'copy', 'copies')} {text}" for why, text in LEFT.items() if left.get(why)]


def apply_lines(report: ApplyReport, call: str) -> list[str]:
    """Return what `apply` did, or would do. call: how this program is called with this store."""
    files = counted(report.files, "copy", "copies")
    beside = f" and {counted(report.sidecars, 'sidecar', 'sidecars')}" if report.sidecars else ""
    done = {"quarantine": "moved", "hardlink": "replaced by hard links", "reflink": "replaced by clones"}[report.action]
    would = "would be " if report.dry_run else ""
    of = f"of {counted(report.groups, 'group', 'groups')} ({size_text(report.bytes)})"
    lines = [f"{files}{beside} {of} {would}{done}" if report.files else f"nothing {would or 'was '}{done}"]
    for one in report.skipped[:SHOWN]:
        lines.append(f"skipped: group {one.group}: {shown(one.path)} {one.why}")
    if len(report.skipped) > SHOWN:
        lines.append(f"and {len(report.skipped) - SHOWN} more groups were skipped; --json names them all")
    lines += [f"not known before the real run: {note}" for note in report.notes]
    lines += left_lines(report.left)
    if report.files and report.dry_run and report.action == "hardlink":
        lines.append(f"hard links: {SHARED}")
    if report.files and not report.dry_run:
        lines += [f"quarantine: {shown(place)}" for place in report.quarantines]
        lines.append(f"undo with: {call} undo {report.plan}")
        lines.append("their space is free after `lookalike purge`, which deletes what was moved 30 days ago")
    return lines


def undo_lines(report: UndoReport) -> list[str]:
    """Return what `undo` did, or would do."""
    files = counted(report.files, "file", "files")
    beside = f" and {counted(report.sidecars, 'sidecar', 'sidecars')}" if report.sidecars else ""
    would = "would be brought back" if report.dry_run else "brought back"
    if report.files or report.sidecars:
        lines = [f"{files}{beside} ({size_text(report.bytes)}) {would}"]
    elif report.stopped or report.skipped:
        lines = ["nothing would be brought back" if report.dry_run else "nothing was brought back"]
    else:
        lines = ["there is nothing to bring back"]
    if report.stopped:
        lines.append("the other files are still in quarantine; the same command goes on where this one stopped")
    lines += _kept("not brought back", report.skipped)
    if report.purged:
        lines.append(f"{counted(report.purged, 'file was', 'files were')} purged before, and cannot come back")
    if report.recalled:
        lines.append(f"{counted(report.recalled, 'image is', 'images are')} found by searches again")
    if report.to_index:
        missing = counted(report.to_index, "image is", "images are")
        lines.append(f"{missing} not in the catalogue any more; `lookalike index` on their folders finds them")
    return lines


def purge_lines(report: PurgeReport, age_s: float) -> list[str]:
    """Return what `purge` did, or would do."""
    would = "would be deleted" if report.dry_run else "deleted"
    files = counted(report.files, "file", "files")
    age = days_text(age_s)
    lines = [f"{files} ({size_text(report.bytes)}) {would}" if report.files else f"nothing {would}"]
    lines += _kept("kept", report.kept)
    if report.young:
        lines.append(f"{counted(report.young, 'file was', 'files were')} moved less than {age} ago")
    return lines


def shown(path: Path) -> str:
    """Return a path as text that cannot move a terminal's cursor."""
    return shown_uri(uri_of_path(str(path)))


def _kept(word: str, items: list[NotRestored]) -> list[str]:
    lines = [f"{word}: {shown(one.path)} {one.why}" for one in items[:SHOWN]]
    return [*lines, f"and {len(items) - SHOWN} more; --json names them all"] if len(items) > SHOWN else lines
