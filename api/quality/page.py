"""The report as one page: everything inside the file, to be kept, sent and opened anywhere."""

import base64
from collections.abc import Iterator, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path

from api.quality.curves import curve_panel, legend
from api.quality.report import ALL, EDIT_GROUP, SEEN, STRICT, UNSEEN, Mistake, QualityReport, Row, TunedBackbone
from api.quality.tables import SCALE, shown, transform_figures, tuning_facts
from indexer.decoding.decode import DecodeLimits, thumbnail
from indexer.quality.collection import Bench
from indexer.quality.edits import STRATA
from indexer.quality.imagededup_protocol import PUBLISHED
from search.calibration.answers import PRECISIONS, Estimate
from search.errors import UsageError

THUMBNAIL_SIDE = 240  # pixels
COLOURS = 6
HASH = "hash"


def write_page(report: QualityReport, bench: Bench, file: Path) -> None:
    """Write the page.

    Raises:
        UsageError: the file cannot be written.
    """
    try:
        file.write_text(page_of(report, bench), "utf-8")
    except OSError as error:
        raise UsageError(f"--html {file}: {error.strerror}") from error


def page_of(report: QualityReport, bench: Bench) -> str:
    """Return the page as HTML. Names of files and photographs are escaped; nothing is loaded from elsewhere."""
    style = files("api.quality").joinpath("page.css").read_text("utf-8")
    body = "\n".join([*_head(report), *_glance(report), *_curves(report), *_seen(report), *_beside(report)])
    rest = "\n".join([*_kinds(report), *_tuning(report), *_mistakes(report, bench), *_remarks(report)])
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'\">\n"
        f"<title>Lookalike: how well copies are found</title>\n<style>\n{style}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n{rest}\n</main>\n</body>\n</html>\n"
    )


def _head(report: QualityReport) -> Iterator[str]:
    counts = report.counts
    yield "<h1>How well copies are found</h1>"
    yield (
        f"<p>{escape(report.photographs)}. Half of the photographs are kept for testing; {_edited(report)} "
        "and looked for among pictures that are not it.</p>"
    )
    numbers = (
        (counts["photographs"], "photographs"),
        (counts["searched_for"], "searched for"),
        (counts["absent"], "asked for, not there"),
        (counts["queries"], "queries"),
        (counts["references"], "references"),
        (counts["tiles"] + counts["drawn"], "distractors"),
        (counts["planted"], "planted look-alikes"),
        (report.seed, "seed"),
    )
    yield f'<ul class="facts">{"".join(f"<li><b>{number:,}</b>{escape(what)}</li>" for number, what in numbers)}</ul>'


def _edited(report: QualityReport) -> str:
    """Return how the photographs were edited: in every way, or in a sample of them."""
    counts, kinds = report.counts, len(report.kinds)
    if counts["edited"] < kinds * (counts["searched_for"] + counts["absent"]):
        return f"{counts['edited']:,} edited copies of them are made, a sample of those of {kinds} kinds of edits,"
    return f"each is edited in {kinds} ways"


def _glance(report: QualityReport) -> Iterator[str]:
    yield "<h2>At a glance</h2>"
    yield (
        "<p>Recall@1: the right picture comes first. Recall at precision .99: it is found above the one threshold at "
        "which 99 of 100 reported pairs are right. Small: 95 % intervals over photographs.</p>"
    )
    over = "".join(f'<th class="over" colspan="2">{stratum}</th>' for stratum in (*STRATA, ALL))
    under = '<th class="number">R@1</th><th class="number">R at P .99</th>' * (len(STRATA) + 1)
    lines = []
    for row in report.rows:
        cells = []
        for name in (*STRATA, ALL):
            group = row.figures.groups.get(name)
            cells += [_cell(None if group is None else group.recall_at[1])]
            cells += [_cell(None if group is None else group.recall_at_precision[STRICT])]
        lines.append(f"<tr>{_method(row)}{''.join(cells)}</tr>")
    yield _table(f"<tr><th></th>{over}</tr><tr><th>method</th>{under}</tr>", lines)


def _curves(report: QualityReport) -> Iterator[str]:
    colours = {row.title: number % COLOURS for number, row in enumerate(report.rows)}
    yield "<h2>Precision and recall</h2>"
    yield "<p>Each threshold is a point. Dotted: precision .90 and .99. Queries without a right answer count.</p>"
    yield legend(list(colours), colours)
    panels = [
        curve_panel(name, {row.title: row.curves[name] for row in report.rows if name in row.curves}, colours)
        for name in (*STRATA, ALL)
        if any(name in row.curves for row in report.rows)
    ]
    yield f'<div class="panels">{"".join(panels)}</div>'


def _seen(report: QualityReport) -> Iterator[str]:
    yield "<h2>Edits nobody has trained on</h2>"
    yield "<p>A third of the kinds serves neither training nor tuning. A gap is what a stranger's edit costs.</p>"
    head = _heads([f"{what}, {part}" for what in ("R@1", "R at P .99") for part in (SEEN, UNSEEN)])
    lines = []
    for row in report.rows:
        groups = [row.figures.groups.get(part) for part in (SEEN, UNSEEN)]
        cells = [_cell(None if group is None else group.recall_at[1]) for group in groups]
        cells += [_cell(None if group is None else group.recall_at_precision[STRICT]) for group in groups]
        lines.append(f"<tr>{_method(row)}{''.join(cells)}</tr>")
    yield _table(f"<tr><th>method</th>{head}</tr>", lines)


def _beside(report: QualityReport) -> Iterator[str]:
    yield "<h2>Beside the edits</h2>"
    yield (
        "<p>Hard negatives are pictures beside each other: tiles of one photograph, parts of one texture, two shots "
        "of one scene. Identical: copies bit by bit, precision and recall of that relation. imagededup's protocol: "
        f"pairs in groups of six at precision .99; {report.counts['groups']} groups here, {PUBLISHED.groups} there.</p>"
    )
    if any(row.is_accurate for row in report.rows):
        yield f"<p>{SCALE.capitalize()}.</p>"
    head = _heads(["threshold at P .99", "hard called same", "identical P / R", "imagededup's protocol", "ms a query"])
    lines = []
    for row in report.rows:
        limit, same = row.figures.thresholds[STRICT], row.identical
        texts = (
            "-" if limit is None else f"{limit:.3f}",
            shown(row.hard_called),
            "-" if same is None else f"{same.precision:.3f} / {same.recall:.3f}",
            shown(row.protocol),
            f"{row.ms:.1f}",
        )
        lines.append(f"<tr>{_method(row)}{''.join(_number(text) for text in texts)}</tr>")
    theirs = (f"{PUBLISHED.threshold:.3f}", "-", "-", f"{PUBLISHED.recall:.3f}".lstrip("0"), "-")
    label = f'<th>{escape(PUBLISHED.method)}<span class="label">published</span></th>'
    lines.append(f"<tr>{label}{''.join(_number(text) for text in theirs)}</tr>")
    yield _table(f"<tr><th>method</th>{head}</tr>", lines)


def _kinds(report: QualityReport) -> Iterator[str]:
    yield "<h2>By kind of edit</h2>"
    yield "<p>Recall@1, and recall at precision .99 below it.</p>"
    head = _heads([row.title for row in report.rows])
    lines, before = [], ""
    for kind in report.kinds:
        cells = []
        for row in report.rows:
            group = row.figures.groups.get(EDIT_GROUP + kind.name)
            one = None if group is None else group.recall_at[1]
            strict = "" if group is None else shown(group.recall_at_precision[STRICT], interval=False)
            cells.append(_cell(one, strict))
        mark = '<span class="label unseen">unseen</span>' if kind.unseen else ""
        first = ' class="first"' if kind.stratum != before else ""
        stratum = kind.stratum if kind.stratum != before else ""
        before = kind.stratum
        lines.append(f"<tr{first}><td>{stratum}</td><th>{escape(kind.name)}{mark}</th>{''.join(cells)}</tr>")
    yield _table(f"<tr><th></th><th>kind</th>{head}</tr>", lines)


def _tuning(report: QualityReport) -> Iterator[str]:
    if report.tuning is None:
        return
    yield "<h2>Transforms of embeddings</h2>"
    yield (
        f"<p>{tuning_facts(report.tuning)}. What searches can do to embeddings before they compare them; a "
        "collection keeps the one it is given.</p>"
    )
    head = _heads(["R@1", "micro-AP", *(f"R at P {f'{precision:.2f}'.lstrip('0')}" for precision in PRECISIONS)])
    lines = [line for backbone in report.tuning.backbones for line in _transform_lines(backbone)]
    yield _table(f"<tr><th>method</th><th>transform</th>{head}</tr>", lines)
    for backbone in report.tuning.backbones:
        reasons = [row.why_not for row in backbone.table.rows if row.why_not is not None]
        yield "".join(f"<p>{escape(backbone.method)}: {escape(reason)}</p>" for reason in reasons)
        if backbone.command is not None:
            yield f"<p>{escape(backbone.method)}: <code>{escape(backbone.command)}</code></p>"


def _transform_lines(backbone: TunedBackbone) -> Iterator[str]:
    for number, row in enumerate(backbone.table.rows):
        label = f'<span class="label">{backbone.dims} dims</span>'
        method = f"<th>{escape(backbone.method)}{label}</th>" if number == 0 else "<th></th>"
        mark = '<span class="label">winner</span>' if row.transform == backbone.table.winner else ""
        cells = "".join(_number(text) for text in transform_figures(row))
        first = ' class="first"' if number == 0 else ""
        yield f"<tr{first}>{method}<th>{row.transform}{mark}</th>{cells}</tr>"


def _mistakes(report: QualityReport, bench: Bench) -> Iterator[str]:
    for row in report.rows:
        if row.weights == HASH:
            continue
        yield f"<h2>Worst misses: {escape(row.title)}</h2>"
        yield "<p>What was asked, what came first, and what should have come: one of each kind of edit.</p>"
        yield f'<div class="misses">{"".join(_miss(one, bench) for one in row.misses)}</div>'
        if not row.misses:
            yield f"<p>There are none: every right picture came first.{_yet(row)}</p>"
        yield "<h3>Nearest to a false alarm</h3>"
        yield "<p>The highest scores of pictures that are not among the references.</p>"
        yield f'<div class="misses">{"".join(_miss(one, bench) for one in row.false_alarms)}</div>'


def _yet(row: Row) -> str:
    """Return what is missed all the same where every right picture came first: those below the strict threshold."""
    group = row.figures.groups.get(ALL)
    found = None if group is None else group.recall_at_precision[STRICT]
    if found is None or found.value >= 1:
        return ""
    missed = f"{100 * (1 - found.value):.1f} %"
    return f" {missed} of them score below the threshold of precision .99, so that somebody has to look."


def _miss(one: Mistake, bench: Bench) -> str:
    shelf = bench.shelf
    shots = [_shot(shelf.read(one.query), "asked", "")]
    shots.append(_shot(shelf.read(one.found), f"came first, {one.found_score:.3f}", "wrong"))
    if one.true is not None:
        score = "not found" if one.true_score is None else f"{one.true_score:.3f}"
        shots.append(_shot(shelf.read(one.true), f"right, {score}", "right"))
    head = f"<b>{escape(one.kind)}</b><small>{escape(one.photograph)}</small>"
    return f'<div class="miss">{head}<div>{"".join(shots)}</div></div>'


def _shot(data: bytes, caption: str, kind: str) -> str:
    small = base64.b64encode(thumbnail(data, THUMBNAIL_SIDE, DecodeLimits())).decode()
    text = escape(caption)
    return (
        f'<figure><img alt="{text}" src="data:image/jpeg;base64,{small}">'
        f'<figcaption class="{kind}">{text}</figcaption></figure>'
    )


def _remarks(report: QualityReport) -> Iterator[str]:
    left_out = [f"{number} files left out: {reason}" for reason, number in sorted(report.left_out.items())]
    remarks: Sequence[str] = [*left_out, *report.remarks]
    if remarks:
        yield "<h2>Remarks</h2>"
        yield "".join(f"<p>{escape(remark)}</p>" for remark in remarks)


def _table(head: str, lines: Sequence[str]) -> str:
    return f'<div class="scroll"><table><thead>{head}</thead><tbody>{"".join(lines)}</tbody></table></div>'


def _method(row: Row) -> str:
    return f'<th>{escape(row.title)}<span class="label">{row.weights}</span></th>'


def _cell(estimate: Estimate | None, below: str | None = None) -> str:
    """Return a cell as dark as its figure is high, with the interval or something else below it."""
    if estimate is None:
        return _number("-")
    small = f"{estimate.low:.2f}-{estimate.high:.2f}" if below is None else below
    text = f"{shown(estimate, interval=False)}<small>{small}</small>"
    return f'<td class="heat" style="--v:{estimate.value:.3f}">{text}</td>'


def _heads(texts: Sequence[str]) -> str:
    return "".join(f'<th class="number">{escape(text)}</th>' for text in texts)


def _number(text: str) -> str:
    return f'<td class="number">{escape(text)}</td>'
