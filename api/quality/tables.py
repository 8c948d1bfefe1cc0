"""The report as tables for a terminal."""

from collections.abc import Iterator, Sequence

from rich.table import Table

from api.console import out, print_table, table
from api.quality.report import ALL, EDIT_GROUP, SEEN, STRICT, UNSEEN, QualityReport, Row, Tuning
from indexer.quality.edits import STRATA
from indexer.quality.imagededup_protocol import PUBLISHED
from search.calibration.answers import PRECISIONS, Estimate
from search.calibration.transform_tuning import TransformQuality

NOTHING = "-"
SCALE = (
    "thresholds of accurate searches: 2 and the score where the pixels were verified, the score alone where not; so "
    "above 1 only what was verified counts, and below it what was not verified counts, too"
)


def print_report(report: QualityReport) -> None:
    """Print what was measured, for people."""
    console = out()
    for line in facts(report):
        console.print(line)
    for heading, rows in (
        ("By stratum (95 % intervals over photographs)", _by_stratum(report.rows)),
        ("Kinds of edits that training and tuning may use, and the unseen ones", _by_seen(report.rows)),
        ("Beside the edits", _beside(report.rows)),
        (f"By kind of edit: recall@1, recall at precision {STRICT:.2f}", _by_kind(report)),
    ):
        console.print(f"\n{heading}")
        print_table(rows)
    console.print("\n* unseen: neither trained nor tuned on")
    if any(row.is_accurate for row in report.rows):
        console.print(SCALE)
    if report.tuning is not None:
        _print_tuning(report.tuning)
    for remark in report.remarks:
        console.print(remark)


def _print_tuning(tuning: Tuning) -> None:
    console = out()
    console.print(f"\nTransforms of embeddings: {tuning_facts(tuning)}")
    print_table(_transforms(tuning))
    for backbone in tuning.backbones:
        for row in backbone.table.rows:
            if row.why_not is not None:
                console.print(f"{backbone.method}: {row.why_not}")
        if backbone.command is not None:
            console.print(f"{backbone.method}: `{backbone.command}` gives a collection the winner")


def tuning_facts(tuning: Tuning) -> str:
    """Return what the figures of a tuning are about."""
    return (
        f"{tuning.queries} queries of {tuning.photographs} photographs of the tuning half in {tuning.kinds} kinds of "
        f"edits, none of them unseen, among {tuning.references} references"
    )


def facts(report: QualityReport) -> Iterator[str]:
    """Yield the lines that say what the figures are about."""
    counts = report.counts
    yield (
        f"{report.photographs}: {counts['photographs']} photographs, half of them for testing "
        f"({counts['searched_for']} searched for, {counts['absent']} asked for and not there)"
    )
    yield (
        f"{counts['queries']} queries ({counts['edited']} edits, {counts['copies']} exact copies, "
        f"{counts['hard']} hard negatives), {counts['references']} references ({counts['planted']} look-alikes, "
        f"{counts['tiles']} tiles of other photographs, {counts['drawn']} drawn pictures), seed {report.seed}"
    )
    if report.left_out:
        reasons = ", ".join(f"{number} {reason}" for reason, number in sorted(report.left_out.items()))
        yield f"left out: {reasons}"


def shown(estimate: Estimate | None, *, interval: bool = True) -> str:
    """Return a figure as people read it: .987 (.97-1.00)."""
    if estimate is None:
        return NOTHING
    text = _fraction(estimate.value, 3)
    return f"{text} ({_fraction(estimate.low, 2)}-{_fraction(estimate.high, 2)})" if interval else text


def _fraction(value: float, digits: int) -> str:
    """Return a share without the zero that every share begins with."""
    text = f"{value:.{digits}f}"
    return text[1:] if text.startswith("0.") else text


def _by_stratum(rows: Sequence[Row]) -> Table:
    made = table("method", "weights", "edits", ">R@1", ">R@10", *(f">R at P {p:.2f}" for p in PRECISIONS), ">micro-AP")
    for row in rows:
        for number, name in enumerate((*STRATA, ALL)):
            group = row.figures.groups.get(name)
            if group is None:
                continue
            made.add_row(
                *((row.title, row.weights) if number == 0 else ("", "")),
                name,
                *(shown(group.recall_at[rank]) for rank in (1, 10)),
                *(shown(group.recall_at_precision[precision]) for precision in PRECISIONS),
                shown(group.average_precision),
            )
    return made


def _by_seen(rows: Sequence[Row]) -> Table:
    made = table("method", "edits", *(f">{what} {part}" for what in ("R@1", "R at P .99") for part in (SEEN, UNSEEN)))
    for row in rows:
        for number, stratum in enumerate((*STRATA, ALL)):
            names = [part if stratum == ALL else f"{stratum}, {part}" for part in (SEEN, UNSEEN)]
            groups = [row.figures.groups.get(name) for name in names]
            made.add_row(
                row.title if number == 0 else "",
                stratum,
                *(NOTHING if group is None else shown(group.recall_at[1]) for group in groups),
                *(NOTHING if group is None else shown(group.recall_at_precision[STRICT]) for group in groups),
            )
    return made


def _beside(rows: Sequence[Row]) -> Table:
    headings = (
        ">threshold",
        ">hard negatives called same",
        ">identical P / R",
        ">imagededup's protocol",
        ">ms a query",
    )
    made = table("method", *headings)
    for row in rows:
        limit = row.figures.thresholds[STRICT]
        same = NOTHING if row.identical is None else f"{row.identical.precision:.3f} / {row.identical.recall:.3f}"
        made.add_row(
            row.title,
            NOTHING if limit is None else f"{limit:.3f}",
            shown(row.hard_called),
            same,
            shown(row.protocol),
            f"{row.ms:.1f}",
        )
    theirs = f"{PUBLISHED.method} (published, {PUBLISHED.groups} groups)"
    made.add_row(theirs, f"{PUBLISHED.threshold:.3f}", NOTHING, NOTHING, _fraction(PUBLISHED.recall, 3), NOTHING)
    return made


def _transforms(tuning: Tuning) -> Table:
    made = table("method", ">dims", "transform", ">R@1", ">micro-AP", *(f">R at P {p:.2f}" for p in PRECISIONS), "")
    for backbone in tuning.backbones:
        for number, row in enumerate(backbone.table.rows):
            made.add_row(
                *((backbone.method, str(backbone.dims)) if number == 0 else ("", "")),
                row.transform,
                *transform_figures(row),
                "winner" if row.transform == backbone.table.winner else "",
            )
    return made


def transform_figures(row: TransformQuality) -> list[str]:
    """Return recall@1, micro-AP, and recall at precision .90 and .99 of a transform as people read them."""
    if row.why_not is not None:
        return [NOTHING] * 4
    return [_fraction(value, 3) for value in (row.recall_at_1, row.micro_ap, row.recall_at_p90, row.recall_at_p99)]


def _by_kind(report: QualityReport) -> Table:
    made = table("edits", "kind", *(f">{row.title}" for row in report.rows))
    for kind in report.kinds:
        cells = []
        for row in report.rows:
            group = row.figures.groups.get(EDIT_GROUP + kind.name)
            if group is None:
                cells.append(NOTHING)
            else:
                pair = group.recall_at[1], group.recall_at_precision[STRICT]
                cells.append("  ".join(shown(one, interval=False) for one in pair))
        made.add_row(kind.stratum, kind.name + ("*" if kind.unseen else ""), *cells)
    return made
