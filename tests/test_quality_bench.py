"""How a bench is put together: what is asked, what is there, and what must never be both."""

import io
import json
import os
import shutil
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image, ImageOps

from indexer.quality.baselines import HashMode, pdq_bits, perceptual_bits
from indexer.quality.bundled import BundledPhoto, bundled_photos, stereo_pair, textures
from indexer.quality.collection import (
    HARD,
    IDENTICAL,
    NO_MATCH,
    Bench,
    BenchOptions,
    build_bench,
    build_tuning,
    kinds_named,
)
from indexer.quality.edits import EDITS, STRATA, as_png
from indexer.quality.modes import DEPTH, Ranked, Ranking, answers_in_groups, answers_to, ranked_by
from indexer.quality.originals import FEWEST_SOURCES, Original, gather_bundled, gather_folder, halves
from indexer.quality.shelf import Shelf
from search.errors import GuardRefused, UsageError
from tests.conftest import painted
from tests.fakes import InProcessDecoder

PHOTOS = 14


def quiet(_done: int, _total: int) -> None:
    """Nobody is told."""


def photograph(number: int, size: tuple[int, int] = (224, 168)) -> Image.Image:
    """A picture unlike every other, with detail in each of its parts."""
    coarse = np.random.default_rng(number).integers(0, 256, (12, 16, 3), np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("photographs")
    for number in range(PHOTOS):
        photograph(number).save(place / f"photo {number:02}.jpg", quality=92)
    return place


@pytest.fixture(scope="module")
def shelf(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    return Shelf(tmp_path_factory.mktemp("bench") / "kept", {"seed": 0})


@pytest.fixture(scope="module")
def originals(folder: Path, shelf: Shelf) -> tuple[Original, ...]:
    return gather_folder(folder, shelf, InProcessDecoder(), 0, quiet).originals


@pytest.fixture(scope="module")
def bench(originals: tuple[Original, ...], shelf: Shelf) -> Bench:
    return build_bench(originals, shelf, BenchOptions(distractors=6, queries=90), quiet)


def test_no_photograph_is_in_both_halves() -> None:
    pieces = [Original(f"{source} {part}", source, "") for source in range(9) for part in range(3)]
    parts = halves(pieces, seed=1)
    tuning, testing = ({piece.source for piece in part} for part in (parts.tuning, parts.testing))
    assert not tuning & testing
    assert (len(tuning), len(testing)) == (4, 5)
    assert halves(pieces, seed=2) != parts


def test_the_right_answer_is_the_photograph_that_was_edited(bench: Bench, originals: tuple[Original, ...]) -> None:
    file_of = {original.source: original.file for original in originals}
    for query in bench.queries:
        if query.truth != NO_MATCH:
            assert bench.references[query.truth] == file_of[query.source]


def test_what_is_asked_for_and_not_there_is_no_reference(bench: Bench, originals: tuple[Original, ...]) -> None:
    absent = {query.source for query in bench.queries if query.truth == NO_MATCH and query.stratum in STRATA}
    there = {query.source for query in bench.queries if query.truth != NO_MATCH}
    assert absent
    assert not absent & there
    assert not {original.file for original in originals if original.source in absent} & set(bench.references)


def test_the_tile_that_is_asked_for_is_no_reference_and_its_neighbours_are(bench: Bench) -> None:
    asked = {query.source for query in bench.queries if query.kind == "other tile"}
    assert asked
    for source in asked:
        tiles = {name for name in bench.references if name.startswith(f"tiles/{source:04}-")}
        made = bench.shelf.read(f"tiles/{source:04}-{source:04}/tiles.txt").decode().split()
        assert len(tiles) == len(made) - 1


def test_the_stereo_pair_and_the_textures_are_hard_negatives_where_they_are_installed(bench: Bench) -> None:
    kinds = Counter(query.kind for query in bench.queries if query.stratum == HARD)
    assert kinds["stereo pair"] == (stereo_pair() is not None)
    assert kinds["same texture"] == len(textures())


def test_a_sample_has_as_many_of_each_stratum_and_of_each_kind(bench: Bench) -> None:
    edited = [query for query in bench.queries if query.stratum in STRATA]
    assert len(edited) == 90
    assert max(Counter(query.stratum for query in edited).values()) <= 31
    assert max(Counter(query.kind for query in edited).values()) <= 3
    assert len({query.kind for query in edited}) == len(EDITS)


def test_exact_copies_are_asked_for_as_a_file_and_as_pixels(bench: Bench) -> None:
    copies = [query for query in bench.queries if query.stratum == IDENTICAL]
    assert {query.kind for query in copies} == {"same file", "same pixels, PNG", "same pixels, WebP"}
    (first, *_) = [query for query in copies if query.kind == "same file"]
    assert bench.shelf.read(first.file) == bench.shelf.read(bench.references[first.truth])


def test_a_second_run_makes_nothing_again_and_asks_the_same(
    bench: Bench, originals: tuple[Original, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Shelf, "_write", lambda _place, _data: pytest.fail("everything is there"))
    shelf = Shelf(bench.shelf.root, {"seed": 0})
    again = build_bench(originals, shelf, BenchOptions(distractors=6, queries=90), quiet)
    assert (again.references, again.queries, again.protocol) == (bench.references, bench.queries, bench.protocol)


def test_another_seed_asks_otherwise(bench: Bench, originals: tuple[Original, ...], tmp_path: Path) -> None:
    shutil.copytree(bench.shelf.root / "originals", tmp_path / "bench" / "originals")
    (tmp_path / "bench" / "quality.json").write_text(json.dumps({"seed": 5}, indent=2))
    options = BenchOptions(seed=5, distractors=0, queries=12)
    other = build_bench(originals, Shelf(tmp_path / "bench", {"seed": 5}), options, quiet)
    assert {query.source for query in other.queries} != {query.source for query in bench.queries}


def test_a_folder_that_holds_something_else_or_another_bench_is_refused(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(GuardRefused, match="neither empty nor a bench"):
        Shelf(tmp_path, {"seed": 0})
    with pytest.raises(GuardRefused, match="made with other options"):
        Shelf(bench.shelf.root, {"seed": 1})


def test_what_cannot_serve_is_counted_by_reason(folder: Path, tmp_path: Path) -> None:
    mixed = tmp_path / "mixed"
    shutil.copytree(folder, mixed)
    photograph(3).resize((160, 120)).save(mixed / "smaller copy.png")
    Image.new("RGB", (200, 200), "grey").save(mixed / "blank.png")
    painted(77, (64, 48)).save(mixed / "icon.png")
    (mixed / "photo 01.jpg").rename(mixed / os.fsdecode(b"\xff.jpg"))
    (mixed / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no more")
    gathered = gather_folder(mixed, Shelf(tmp_path / "bench", {}), InProcessDecoder(), 0, quiet)
    assert len(gathered.originals) == PHOTOS
    assert "\ufffd.jpg" in {original.name for original in gathered.originals}, "a name that can be printed"
    assert gathered.left_out == {
        "copy of another": 1, "nearly blank": 1, "smaller than 96 pixels": 1, "no readable picture": 1,
    }  # fmt: skip


def test_a_large_photograph_is_brought_to_1280_pixels_and_a_small_one_stays_as_it_is(tmp_path: Path) -> None:
    place = tmp_path / "photographs"
    place.mkdir()
    for number in range(FEWEST_SOURCES):
        photograph(number, (1500, 900) if number == 0 else (300, 200)).save(place / f"{number}.jpg")
    shelf = Shelf(tmp_path / "bench", {})
    gathered = gather_folder(place, shelf, InProcessDecoder(), 0, quiet)
    files = {original.name: shelf.read(original.file) for original in gathered.originals}
    assert Image.open(io.BytesIO(files["0.jpg"])).size == (1280, 768)
    assert files["1.jpg"] == (place / "1.jpg").read_bytes()


def test_too_few_photographs_are_refused_with_what_was_left_out(folder: Path, tmp_path: Path) -> None:
    few = tmp_path / "few"
    few.mkdir()
    for number in range(3):
        shutil.copy(folder / f"photo {number:02}.jpg", few)
    shutil.copy(folder / "photo 00.jpg", few / "again.jpg")
    shelf = Shelf(tmp_path / "bench", {})
    with pytest.raises(UsageError, match=r"holds 3 different .*1 left out \(copy of another\), 8 are needed"):
        gather_folder(few, shelf, InProcessDecoder(), 0, quiet)
    with pytest.raises(UsageError, match="is no folder"):
        gather_folder(tmp_path / "nowhere", shelf, InProcessDecoder(), 0, quiet)


def test_photographs_of_installed_packages_are_cut_into_pieces_of_one_source(tmp_path: Path) -> None:
    photos = []
    for number in range(FEWEST_SOURCES):
        file = tmp_path / f"{number}.png"
        photograph(number).save(file)
        photos.append(BundledPhoto(file, 2, 1))
    gathered = gather_bundled(photos, Shelf(tmp_path / "bench", {}))
    assert [original.source for original in gathered.originals] == [n for n in range(FEWEST_SOURCES) for _ in range(2)]
    with pytest.raises(UsageError, match="name a FOLDER"):
        gather_bundled(photos[:2], Shelf(tmp_path / "other", {}))


def test_the_bundled_photographs_are_there_with_the_dev_extra() -> None:
    assert len(bundled_photos()) == 22


def test_kinds_are_chosen_by_stratum_and_by_name() -> None:
    assert kinds_named([], []) == EDITS
    assert {kind.stratum for kind in kinds_named(["heavy", "light"], [])} == {"heavy", "light"}
    assert [kind.name for kind in kinds_named([], ["meme", "jpeg"])] == ["jpeg", "meme"]
    for strata, names, complaint in (
        (["hard"], [], "there is no stratum 'hard'"),
        ([], ["jpg"], "there is no edit 'jpg'"),
        (["light"], ["meme"], "none of the edits meme is light"),
    ):
        with pytest.raises(UsageError, match=complaint):
            kinds_named(strata, names)


def test_a_hash_ranks_by_equal_bits(shelf: Shelf, originals: tuple[Original, ...]) -> None:
    files = [original.file for original in originals]
    mode = HashMode("pHash", perceptual_bits, shelf, files, quiet)
    found = mode.rank(shelf.read(files[4]), "query")
    hashes = np.array([perceptual_bits(shelf.read(file)) for file in files])
    shares = (hashes == hashes[4]).mean(axis=1)
    assert found.rows[0] == 4
    np.testing.assert_allclose(found.scores, np.sort(shares)[::-1], atol=1e-6)
    assert not found.identical.any()


def test_pdq_is_asked_about_the_decoded_pixels_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its package brings no wheels, so a stand-in takes its place: left half brighter or not, 256 times."""
    picture = painted(4, (64, 48))
    seen: list[np.ndarray] = []

    def compute(pixels: np.ndarray) -> tuple[np.ndarray, int]:
        seen.append(pixels)
        return np.full(256, pixels[:, :32].mean() > pixels[:, 32:].mean(), np.uint8), 100

    monkeypatch.setitem(sys.modules, "pdqhash", SimpleNamespace(compute=compute))
    bits, mirrored = pdq_bits(as_png(picture)), pdq_bits(as_png(ImageOps.mirror(picture)))
    assert bits.shape == (256,)
    assert (bits != mirrored).all()
    np.testing.assert_array_equal(seen[0], np.asarray(picture))


@pytest.fixture(scope="module")
def tuning(originals: tuple[Original, ...], shelf: Shelf) -> Bench:
    return build_tuning(originals, shelf, BenchOptions(distractors=3, queries=24), quiet)


def test_what_is_tuned_on_is_never_tested_on(tuning: Bench, bench: Bench, originals: tuple[Original, ...]) -> None:
    kept = {original.source for original in halves(originals, seed=0).tuning}
    assert {query.source for query in tuning.queries} <= kept
    tested = [query for query in bench.queries if query.stratum in STRATA]
    assert not {query.source for query in tuning.queries} & {query.source for query in tested}
    assert not {query.file for query in tuning.queries} & {query.file for query in bench.queries}


def test_no_kind_of_edit_that_is_tuned_on_is_an_unseen_one(tuning: Bench) -> None:
    free = {edit.name for edit in EDITS if not edit.unseen}
    asked = {query.kind for query in tuning.queries}
    assert asked <= free
    assert len(asked) > len(free) / 2


def test_tuning_hides_photographs_among_drawn_pictures_and_asks_for_some_that_are_not_there(tuning: Bench) -> None:
    assert [name.split("/")[0] for name in tuning.references] == ["originals"] * 5 + ["drawn"] * 3
    for query in tuning.queries:
        stem = Path(query.file).stem
        there = [row for row, name in enumerate(tuning.references) if name.startswith(f"originals/{stem}.")]
        assert there == ([] if query.truth == NO_MATCH else [query.truth])
    assert 0 < sum(query.truth == NO_MATCH for query in tuning.queries) < len(tuning.queries)


def test_nothing_can_be_tuned_on_unseen_kinds_alone(originals: tuple[Original, ...], shelf: Shelf) -> None:
    options = BenchOptions(distractors=0, kinds=kinds_named([], ["webp", "lens"]))
    with pytest.raises(UsageError, match="webp, lens may only be tested on"):
        build_tuning(originals, shelf, options, quiet)


class Listed:
    """Answers with rows and scores that a test wrote down, by the bytes of the query."""

    name = "listed"

    def __init__(self, rankings: dict[bytes, list[tuple[int, float]]]) -> None:
        self._rankings = rankings

    def rank(self, query: bytes, name: str) -> Ranking:
        rows, scores = zip(*self._rankings[query], strict=True)
        return Ranking(np.array(rows), np.array(scores, np.float32), np.array(scores) == 1)


def test_answers_keep_the_order_of_the_queries_whichever_thread_was_first(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "bench", {})
    rankings = {bytes([number]): [(number, 1.0), (9 - number, 0.5)] for number in range(10)}
    files = [shelf.put(f"{query[0]}.bin", lambda query=query: query) for query in rankings]  # type: ignore[misc]
    ranked = ranked_by(Listed(rankings), shelf, files, 3, quiet)
    assert ranked.rows.shape == (10, DEPTH)
    assert ranked.rows[:, 0].tolist() == list(range(10))
    assert ranked.rows[0, :3].tolist() == [0, 9, -1]
    assert np.isneginf(ranked.scores[:, 2:]).all()
    assert ranked.identical.sum() == 10


def test_right_is_the_reference_that_the_query_was_made_from(bench: Bench) -> None:
    queries = [query for query in bench.queries if query.truth != NO_MATCH][:1]
    queries += [query for query in bench.queries if query.truth == NO_MATCH][:1]
    rows = np.array([[queries[0].truth, 99], [queries[0].truth, 99]])
    found = answers_to(Ranked(rows, np.ones((2, 2), np.float32), np.zeros((2, 2), bool)), queries)
    assert found.right.tolist() == [[True, False], [False, False]]
    assert found.positives.tolist() == [1, 0]


def test_in_groups_every_other_picture_of_the_own_group_is_right_and_the_query_itself_is_left_out() -> None:
    rows = np.array([[0, 1, 2], [1, 2, 0], [2, 3, 1], [3, 0, 2]])
    scores = np.tile(np.array([1, 0.8, 0.6], np.float32), (4, 1))
    found = answers_in_groups(Ranked(rows, scores, np.zeros((4, 3), bool)).without_itself(), 2)
    assert found.right.tolist() == [
        [True, False, False], [False, True, False], [True, False, False], [False, True, False],
    ]  # fmt: skip
    assert np.isneginf(found.scores[:, 2]).all()
    assert found.positives.tolist() == [1, 1, 1, 1]
    assert found.sources.tolist() == [0, 0, 1, 1]
