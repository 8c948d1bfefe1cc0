"""From answers to the report: figures worked out by hand, the tables, and the page."""

import io
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from api.commands.quality import _backbones, _with_regions
from api.quality.curves import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, curve_panel, points
from api.quality.measuring import Named, false_alarms, misses, protocol_recall, row_of
from api.quality.page import page_of
from api.quality.report import (
    ACCURATE,
    ALL,
    EDIT_GROUP,
    SEEN,
    UNSEEN,
    IdenticalFigures,
    QualityReport,
    Row,
    TunedBackbone,
    Tuning,
)
from api.quality.running import RANDOM, MeasuredBackbone
from api.quality.store_modes import ranking_of
from api.quality.tables import SCALE, print_report, shown
from indexer.backbones.timm_models import load_network
from indexer.quality.collection import HARD, IDENTICAL, NO_MATCH, Bench, BenchQuery
from indexer.quality.edits import EDITS
from indexer.quality.imagededup_protocol import GROUP
from indexer.quality.modes import Ranked, answers_to
from indexer.quality.random_weights import write_random_weights
from indexer.quality.shelf import Shelf
from search.calibration.answers import Estimate
from search.calibration.metrics import PrecisionRecall
from search.calibration.transform_tuning import TransformQuality, TransformTable
from search.errors import UsageError
from search.records import POOLINGS, ImageRecord, Match
from tests.conftest import painted

HOSTILE = '<img src=x onerror="alert(1)">'
# Two photographs that are there, one that is not, a hard negative, and two exact copies.
QUERIES = (
    BenchQuery("queries/a.jpg", "jpeg", "light", 0, 0),
    BenchQuery("queries/b.jpg", "webp", "light", 1, 1, unseen=True),
    BenchQuery("queries/a.jpg", "meme", "heavy", 0, 0),
    BenchQuery("queries/c.jpg", "jpeg", "light", 2, NO_MATCH),
    BenchQuery("queries/c.jpg", "other tile", HARD, 3, NO_MATCH),
    BenchQuery("queries/a.jpg", "same file", IDENTICAL, 0, 0),
    BenchQuery("queries/b.jpg", "same file", IDENTICAL, 1, 1),
)
ROWS = np.array([[0, 2], [1, 0], [2, 0], [2, 1], [2, 0], [0, 1], [1, 0]])
SCORES = np.array([[0.9, 0.1], [0.8, 0.2], [0.6, 0.5], [0.4, 0.3], [0.85, 0.1], [1, 0.1], [1, 0.2]], np.float32)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    shelf = Shelf(tmp_path / "bench", {})
    for number, name in enumerate(["queries/a.jpg", "queries/b.jpg", "queries/c.jpg", "0.jpg", "1.jpg", "2.jpg"]):
        file = io.BytesIO()
        painted(number, (64, 48)).save(file, "JPEG")
        shelf.put(name, file.getvalue)
    counts = {"searched_for": 2, "absent": 1, "planted": 1, "tiles": 0, "drawn": 0, "groups": 1}
    return Bench(shelf, ("0.jpg", "1.jpg", "2.jpg"), QUERIES, (), counts, {"0.jpg": HOSTILE})


@pytest.fixture
def ranked() -> Ranked:
    identical = np.zeros(ROWS.shape, bool)
    identical[5, 0] = True  # one of the two copies, and a lie about another query
    identical[3, 0] = True
    return Ranked(ROWS, SCORES, identical)


@pytest.fixture
def row(bench: Bench, ranked: Ranked) -> Row:
    nothing = Ranked(np.empty((0, 2), np.int64), np.empty((0, 2), np.float32), np.empty((0, 2), bool))
    return row_of(Named(HOSTILE, "built-in", "fast", tells_identical=True), bench, ranked, nothing, 12.5)


@pytest.fixture
def report(row: Row, bench: Bench) -> QualityReport:
    counts = {"photographs": 4, "references": 3, "queries": 7, "edited": 4, "copies": 2, "hard": 1} | dict(bench.counts)
    kinds = [edit for edit in EDITS if edit.name in {"jpeg", "webp", "meme"}]
    return QualityReport(HOSTILE, 3, counts, {"nearly blank": 2}, kinds, [row], ["PDQ is left out"])


def test_each_group_has_its_own_recall_and_one_threshold_serves_all(row: Row) -> None:
    groups = row.figures.groups
    assert groups["light"].recall_at[1].value == 1
    assert groups["heavy"].recall_at[1].value == 0
    assert groups["heavy"].recall_at[10].value == 1
    assert groups[ALL].recall_at[1].value == pytest.approx(2 / 3)
    # The wrong answer at .6 stands between .8 and the right one at .5.
    assert row.figures.thresholds[0.99] == pytest.approx(0.8)
    assert groups["heavy"].recall_at_precision[0.99].value == 0
    assert groups[SEEN].recall_at[1].value == 0.5
    assert groups[UNSEEN].recall_at[1].value == 1
    assert {name.removeprefix(EDIT_GROUP) for name in groups if name.startswith(EDIT_GROUP)} == {"jpeg", "webp", "meme"}


def test_hard_negatives_are_called_the_same_above_the_threshold_and_do_not_choose_it(row: Row) -> None:
    assert row.hard_called is not None
    assert row.hard_called.value == 1  # .85, which would have raised the threshold to .9


@pytest.mark.parametrize(("same_from", "called"), [(0.85, 1.0), (0.86, 0.0)])
def test_a_mode_that_says_itself_what_is_the_same_is_taken_at_its_word(
    bench: Bench, ranked: Ranked, same_from: float, called: float
) -> None:
    nothing = Ranked(np.empty((0, 2), np.int64), np.empty((0, 2), np.float32), np.empty((0, 2), bool))
    row = row_of(Named("ours", "built-in", "accurate", same_from=same_from), bench, ranked, nothing, 12.5)
    assert row.hard_called is not None
    assert row.hard_called.value == called


def test_identical_counts_copies_that_were_found_and_lies(row: Row) -> None:
    assert row.identical == IdenticalFigures(copies=2, called=2, truly=1, found=1)
    assert (row.identical.precision, row.identical.recall) == (0.5, 0.5)
    assert IdenticalFigures(0, 0, 0, 0).precision == IdenticalFigures(0, 0, 0, 0).recall == 1


def test_a_miss_names_what_was_asked_what_came_and_what_should_have_come(bench: Bench, ranked: Ranked) -> None:
    answers = answers_to(ranked, QUERIES)
    (miss,) = misses(bench, ranked, answers, np.array([query.stratum in ("light", "heavy") for query in QUERIES]))
    assert (miss.kind, miss.query, miss.found, miss.true) == ("meme", "queries/a.jpg", "2.jpg", "0.jpg")
    assert miss.photograph == HOSTILE, "the name of the user's own file"
    assert [miss.found_score, miss.true_score] == pytest.approx([0.6, 0.5])


def test_false_alarms_are_the_highest_scores_of_what_is_not_there(bench: Bench, ranked: Ranked) -> None:
    alarms = false_alarms(bench, ranked, answers_to(ranked, QUERIES))
    assert [(alarm.kind, alarm.found, round(alarm.found_score, 2)) for alarm in alarms] == [
        ("other tile", "2.jpg", 0.85), ("jpeg", "2.jpg", 0.4),
    ]  # fmt: skip


def test_the_recall_of_imagededup_s_protocol_is_over_the_pairs_of_groups() -> None:
    # Two groups. Each picture finds itself and three of its five fellows, and then a stranger.
    rows = np.array([[own, *[(own // GROUP) * GROUP + (own + step) % GROUP for step in (1, 2, 3)], (own + GROUP) % 12]
                     for own in range(2 * GROUP)])  # fmt: skip
    scores = np.tile(np.array([1, 0.9, 0.8, 0.7, 0.6], np.float32), (12, 1))
    found = protocol_recall(Ranked(rows, scores, np.zeros(rows.shape, bool)))
    assert found is not None
    assert found.value == pytest.approx(3 / 5)


def test_a_match_becomes_the_row_of_its_key() -> None:
    image = ImageRecord(7, "b.jpg", "file:///b.jpg", 1, 1, 1, "jpeg", b"", b"", 0, 0)
    ranking = ranking_of([Match(image, 0.5, "identical")], {"a.jpg": 0, "b.jpg": 1})
    assert (ranking.rows.tolist(), ranking.scores.tolist(), ranking.identical.tolist()) == ([1], [0.5], [True])


def test_matches_score_in_the_order_in_which_they_are_shown() -> None:
    images = [ImageRecord(number, f"{number}", "", 1, 1, 1, "jpeg", b"", b"", 0, 0) for number in range(4)]
    shown_first = [Match(images[0], 0.3, "similar", "no"), Match(images[1], 0.6, "similar", "no")]
    ranking = ranking_of(
        [*shown_first, Match(images[2], 0.6, "similar", "no"), Match(images[3], 0.2, "similar", "no")],
        {f"{number}": number for number in range(4)},
    )
    assert ranking.scores[0] > ranking.scores[1] == ranking.scores[2], "equal scores stay equal"
    np.testing.assert_allclose(ranking.scores, [0.6, 0.6, 0.6, 0.2], atol=1e-6)


def test_shares_are_shown_without_their_zero() -> None:
    assert shown(Estimate(0.9871, 0.9, 1.0)) == ".987 (.90-1.00)"
    assert shown(Estimate(1.0, 1.0, 1.0), interval=False) == "1.000"
    assert shown(None) == "-"


def test_the_tables_name_strata_kinds_and_what_was_published(
    report: QualityReport, capsys: pytest.CaptureFixture[str]
) -> None:
    print_report(report)
    text = capsys.readouterr().out
    assert re.search(r"built-in +light +1\.000 \(\.16-1\.00\)", text)
    assert "webp*" in text
    assert re.search(r"imagededup CNN \(published, 1800 groups\) +0\.900 .* \.384", text)
    assert "left out: 2 nearly blank" in text
    assert "PDQ is left out" in text


def test_the_json_has_every_figure_with_its_interval(report: QualityReport) -> None:
    shape: Any = report.as_json()
    (row,) = shape["rows"]
    assert set(row["groups"]["light"]["recall@p0.99"]) == {"value", "low", "high"}
    assert row["edits"]["meme"]["recall@1"]["value"] == 0
    assert row["identical"] == {"copies": 2, "called": 2, "precision": 0.5, "recall": 0.5}
    assert row["imagededup_protocol"] is None
    assert shape["published"]["imagededup_protocol"]["recall"] == 0.384


def test_the_page_holds_everything_itself_and_names_cannot_become_tags(report: QualityReport, bench: Bench) -> None:
    page = page_of(report, bench)
    assert HOSTILE not in page
    assert "&lt;img src=x" in page
    assert not re.findall(r"(?:src|href)=\"(?!data:)", page)
    assert "<script" not in page
    # One miss of three pictures, two false alarms of two.
    assert page.count("data:image/jpeg;base64,") == 7
    assert page.count("<svg") == 3  # light, heavy, all; nothing medium was asked


@pytest.fixture
def tuned(report: QualityReport) -> QualityReport:
    """The same with a table in which centring wins, and one in which nothing could be tried."""
    reason = "whiten-0.5 needs at least as many images as dims, 512, and there are 8"
    tried = TransformTable((
        TransformQuality("none", 0.8, 0.7, 0.6, 0.5),
        TransformQuality("centre", 0.9, 0.75, 0.65, 0.55),
        TransformQuality("whiten-0.5", why_not=reason),
    ))  # fmt: skip
    nothing = TransformTable((TransformQuality("whiten-0.5", why_not=reason),))
    backbones = [TunedBackbone("builtin", "built-in", 512, tried), TunedBackbone(HOSTILE, "random", 64, nothing)]
    return replace(report, tuning=Tuning(6, 90, 40, 30, backbones))


def test_the_winner_among_transforms_is_marked_with_the_command_that_applies_it(
    tuned: QualityReport, bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    print_report(tuned)
    text = capsys.readouterr().out
    assert re.search(r"builtin +512 +none +\.800 +\.700 +\.600 +\.500\s", text)
    assert re.search(r"centre +\.900 +\.750 +\.650 +\.550 +winner", text)
    assert text.count("winner") == 2, "the row, and what its command gives"
    for shown_in in (text, page_of(tuned, bench)):
        assert "90 queries of 6 photographs of the tuning half in 30 kinds of edits, none of them unseen" in shown_in
        assert "lookalike rebuild --transform centre" in shown_in
        assert shown_in.count("rebuild --transform") == 1, "no command where nothing could be tried"


def test_a_transform_that_cannot_be_fitted_says_why_instead_of_a_figure(
    tuned: QualityReport, bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    print_report(tuned)
    text = capsys.readouterr().out
    assert re.search(r"whiten-0\.5 +- +- +- +-", text)
    assert "builtin: whiten-0.5 needs at least as many images as dims, 512, and there are 8" in text
    page = page_of(tuned, bench)
    assert "<p>builtin: whiten-0.5 needs at least as many images as dims, 512, and there are 8</p>" in page
    assert HOSTILE not in page


def test_the_json_holds_the_tuning_only_where_it_was_asked_for(report: QualityReport, tuned: QualityReport) -> None:
    assert report.as_json()["tuning"] is None
    shape: Any = tuned.as_json()["tuning"]
    assert {name: shape[name] for name in ("photographs", "queries", "references", "kinds")} == {
        "photographs": 6, "queries": 90, "references": 40, "kinds": 30,
    }  # fmt: skip
    first, second = shape["backbones"]
    assert (first["method"], first["dims"], first["winner"]) == ("builtin", 512, "centre")
    assert first["command"] == "lookalike rebuild --transform centre"
    assert [row["recall_at_1"] for row in first["rows"]] == [0.8, 0.9, None]
    assert (second["winner"], second["command"]) == (None, None)


def test_a_curve_runs_from_recall_0_to_its_last_point_in_the_panel() -> None:
    curve = PrecisionRecall(np.array([0.9, 0.5]), np.array([1.0, 0.5]), np.array([0.5, 1.0]))
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    assert points(curve) == [(LEFT, TOP), ((LEFT + right) / 2, TOP), (right, (TOP + bottom) / 2)]
    assert "average precision 0.750" in curve_panel("light", {"ours": curve}, {"ours": 0})


def test_a_long_curve_is_drawn_with_as_many_points_as_can_be_seen() -> None:
    recall = np.linspace(0, 1, 100_000)
    curve = PrecisionRecall(1 - recall, 1 - recall / 2, recall)
    assert len(points(curve)) < 2_000


def test_the_page_says_whether_all_edits_were_made_or_a_sample(report: QualityReport, bench: Bench) -> None:
    assert "4 edited copies of them are made, a sample of those of 3 kinds of edits" in page_of(report, bench)
    every = replace(report, counts={**report.counts, "edited": 9})  # of three photographs, in three ways
    assert "each is edited in 3 ways" in page_of(every, bench)


def test_right_pictures_that_came_first_may_still_score_too_low(report: QualityReport, bench: Bench, row: Row) -> None:
    """Of the three edits two score above .8, the threshold of precision .99."""
    page = page_of(replace(report, rows=[replace(row, misses=[])]), bench)
    assert "every right picture came first. 33.3 % of them score below the threshold of precision .99" in page


def test_the_scale_of_accurate_searches_is_explained_where_they_are_measured(
    report: QualityReport, bench: Bench, row: Row, capsys: pytest.CaptureFixture[str]
) -> None:
    accurate = replace(report, rows=[replace(row, mode=ACCURATE)])
    for one, there in ((report, False), (accurate, True)):
        print_report(one)
        assert (SCALE in capsys.readouterr().out) is there
        assert (SCALE.capitalize() in page_of(one, bench)) is there


def test_thumbnails_on_the_page_are_small(report: QualityReport, bench: Bench) -> None:
    large = io.BytesIO()
    Image.effect_noise((1200, 900), 60).convert("RGB").save(large, "JPEG", quality=95)
    (bench.shelf.root / "2.jpg").write_bytes(large.getvalue())
    assert len(page_of(report, bench)) < len(large.getvalue())


@pytest.mark.parametrize(
    ("measured", "label", "method"),
    [
        (MeasuredBackbone(), "built-in", "builtin"),
        (MeasuredBackbone("nfnet_l0"), "pretrained", "nfnet_l0"),
        (MeasuredBackbone("nfnet_l0", "weights/tuned.safetensors"), "pretrained", "nfnet_l0 (tuned)"),
        (MeasuredBackbone("nfnet_l0", RANDOM), "random", "nfnet_l0"),
        (MeasuredBackbone("nfnet_l0", pooling="gem3"), "pretrained", "nfnet_l0 (gem3)"),
        (MeasuredBackbone("nfnet_l0", "tuned.pt", "gem4", 288), "pretrained", "nfnet_l0 (tuned, gem4, 288 px)"),
        (MeasuredBackbone("nfnet_l0", RANDOM, size="test"), "random", "nfnet_l0 (test size)"),
        (MeasuredBackbone(regions=True), "built-in", "builtin (regions)"),
    ],
)
def test_a_row_says_where_its_weights_come_from(measured: MeasuredBackbone, label: str, method: str) -> None:
    assert (measured.label, measured.method) == (label, method)


def test_each_file_of_weights_has_a_collection_of_its_own() -> None:
    names = [None, RANDOM, "a/tuned.safetensors", "b/tuned.safetensors"]
    assert len({MeasuredBackbone("nfnet_l0", weights).collection for weights in names}) == 4


def test_each_pooling_and_size_has_a_collection_of_its_own() -> None:
    made = [MeasuredBackbone("nfnet_l0", pooling=pooling, size=size) for pooling in POOLINGS for size in (None, 64)]
    assert len({one.collection for one in made}) == 6


def test_pooling_and_size_belong_to_the_backbone_at_the_same_place() -> None:
    found = _backbones(["a", "b", "builtin"], ["w.safetensors"], ["avg", "gem3"], ["train", "test"])
    assert found == (
        MeasuredBackbone(),
        MeasuredBackbone("a", "w.safetensors"),
        MeasuredBackbone("b", None, "gem3", "test"),
    )
    with pytest.raises(UsageError, match="--pool is given 2 times, --backbone 1: name a backbone for each"):
        _backbones(["a"], [], ["avg", "gem3"], [])


def test_random_weights_are_those_of_the_seed_and_load_like_any_others(tmp_path: Path) -> None:
    one, same, other = (write_random_weights("test_resnet", tmp_path / f"{n}.safetensors", n // 2) for n in (0, 1, 2))
    assert one.read_bytes() == same.read_bytes() != other.read_bytes()
    network = load_network("test_resnet", one, use="embed").network
    assert network.num_features > 0


def test_each_backbone_is_measured_with_regions_beside_itself_in_a_collection_of_its_own() -> None:
    asked = _with_regions((MeasuredBackbone(), MeasuredBackbone("nfnet_l0")), regions=True)
    assert [one.method for one in asked] == ["builtin", "builtin (regions)", "nfnet_l0", "nfnet_l0 (regions)"]
    assert len({one.collection for one in asked}) == 4
    assert _with_regions((MeasuredBackbone(),), regions=False) == (MeasuredBackbone(),)
