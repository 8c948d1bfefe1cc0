"""`make bench`: which photographs benchmarks take, and what is summed up of many of them."""

from pathlib import Path

import pytest

from bench import every_bench, photographs
from bench.photographs import SKIPPED, VARIABLE, found_photographs, photo_folder


@pytest.fixture(autouse=True)
def nothing_beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    beside = tmp_path / "shared" / "photos"
    monkeypatch.setattr(photographs, "BESIDE", beside)
    monkeypatch.delenv(VARIABLE, raising=False)
    return beside


def test_a_folder_is_looked_for_from_the_most_to_the_least_explicit(
    tmp_path: Path, nothing_beside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, said, sample = tmp_path / "given", tmp_path / "said", tmp_path / "sample"
    assert photo_folder(None, lambda: sample) == sample
    nothing_beside.mkdir(parents=True)
    assert photo_folder(None, lambda: sample) == nothing_beside
    said.mkdir()
    monkeypatch.setenv(VARIABLE, str(said))
    assert photo_folder(None, lambda: sample) == said
    given.mkdir()
    assert photo_folder(given, lambda: sample) == found_photographs(given) == given


def test_without_photographs_a_benchmark_is_skipped_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert found_photographs(None) is None
    with pytest.raises(SystemExit) as stop:
        photo_folder(None)
    assert stop.value.code == SKIPPED
    assert (
        capsys.readouterr().err == "skipped: needs a folder of photographs: name one, or set LOOKALIKE_BENCH_PHOTOS\n"
    )


def test_a_folder_that_is_not_there_is_a_mistake_and_no_reason_to_skip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "mistyped"))
    with pytest.raises(SystemExit, match=r"LOOKALIKE_BENCH_PHOTOS says .*mistyped, which is no folder"):
        photo_folder(None)


@pytest.mark.parametrize(("codes", "expected"), [((0, SKIPPED, 3), 1), ((0, SKIPPED, 0), 0), ((2, 0, 0), 1)])
def test_all_benchmarks_run_whatever_becomes_of_the_others(
    codes: tuple[int, ...], expected: int, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[tuple[str, list[str]]] = []

    def run(name: str, arguments: object) -> int:
        ran.append((name, list(arguments)))  # type: ignore[call-overload]
        return codes[len(ran) - 1]

    assert every_bench.run_all(["one", "two", "three"], ["--rounds", "1"], run) == expected
    assert ran == [(name, ["--rounds", "1"]) for name in ("one", "two", "three")]
    lines = capsys.readouterr().out.splitlines()[-3:]
    words = {0: "done", SKIPPED: "skipped"}
    for line, name, code in zip(lines, ("one", "two", "three"), codes, strict=True):
        assert line.split(" (")[0].split(maxsplit=1) == [name, words.get(code, f"failed with exit code {code}")]


def test_every_program_but_the_sample_collection_is_a_benchmark() -> None:
    known = every_bench.benches()
    assert {"all_pairs", "calibration", "dedup_quality", "gpu", "startup"} <= set(known)
    assert not {"sample_collection", "every_bench", "reporting", "photographs"} & set(known)


def test_a_benchmark_that_there_is_not_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert every_bench.main(["all_pears"]) == 2
    assert "no benchmark 'all_pears'; choose from accurate_search, all_pairs" in capsys.readouterr().err


@pytest.mark.parametrize(
    "name", ["calibration", "fewer_dims", "local_channel", "dedup_again", "dedup_quality", "regions"]
)
def test_what_drawn_pictures_cannot_tell_is_skipped(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = __import__(f"bench.{name}", fromlist=["main"])
    monkeypatch.setattr("sys.argv", [name])
    with pytest.raises(SystemExit) as stop:
        module.main()
    assert stop.value.code == SKIPPED
    assert "skipped: needs a folder of photographs" in capsys.readouterr().err
