"""Consent to licences: asked for once, before anything is fetched or written."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import lookalike
from api.cli import main
from indexer.backbones.licences import asks_for_consent, licence_of, require_accepted, require_known
from search.errors import BackboneNotFound, LicenceNotAccepted, UsageError
from search.settings import read_settings
from search.storing.store import Store
from tests.conftest import painted
from tests.fakes import FakeBackbone
from tests.perturbed import perturbed_weights

NAME = "resnet18.fb_ssl_yfcc100m_ft_in1k"
LICENCE = "cc-by-nc-4.0"
Run = Callable[..., tuple[int, dict]]  # type: ignore[type-arg]


@pytest.mark.parametrize("licence", [None, "apache-2.0", "mit", "cc-by-4.0", "unknown"])
def test_most_licences_ask_for_nothing(licence: str | None) -> None:
    assert not asks_for_consent(licence)
    for accepted in (None, "", LICENCE, "mit"):
        require_accepted(licence, accepted, "some_model")


@pytest.mark.parametrize("licence", [LICENCE, "cc-by-nc-sa-4.0", "CC-BY-NC-4.0", "apple-amlr", "seer-license"])
def test_a_licence_without_commercial_use_asks_and_takes_its_own_name_only(licence: str) -> None:
    require_accepted(licence, licence, "some_model")
    require_accepted(licence, f" {licence.upper()} ", "some_model")
    with pytest.raises(LicenceNotAccepted, match=f"some_model.*no commercial use.*--accept-license {licence.lower()}"):
        require_accepted(licence, None, "some_model")
    with pytest.raises(UsageError, match=f"--accept-license mit: .* under {licence.lower()}, accept that one"):
        require_accepted(licence, "mit", "some_model")


def test_consent_that_no_weights_ask_for_is_refused() -> None:
    require_known(None)
    require_known(LICENCE)
    with pytest.raises(UsageError, match="--accept-license yes: no weights ask for it; cc-by-nc-4.0"):
        require_known("yes")


def test_the_licence_of_a_backbone_is_known_by_its_name_alone() -> None:
    assert licence_of("builtin") == "apache-2.0"
    assert licence_of(NAME) == licence_of("ssl_resnet18") == LICENCE
    with pytest.raises(BackboneNotFound):
        licence_of("resnet_of_dreams")


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command with --json on a store of this test's own."""
    monkeypatch.delenv("LOOKALIKE_ACCEPT_LICENSE", raising=False)

    def call(*arguments: object) -> tuple[int, dict]:  # type: ignore[type-arg]
        capsys.readouterr()
        code = 0
        try:
            main(["--store", str(tmp_path / "store"), "--progress", "none", "--json", *map(str, arguments)])
        except SystemExit as stop:
            code = int(stop.code or 0)
        return code, json.loads(capsys.readouterr().out)

    return call


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "photos" / "a.png"
    path.parent.mkdir()
    painted(1).save(path)
    return path


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return perturbed_weights(NAME, tmp_path_factory.mktemp("weights") / "weights.safetensors")


@pytest.mark.parametrize(
    ("given", "refused"), [((), (4, "LicenceNotAccepted")), (("--accept-license", "mit"), (2, "UsageError"))]
)
def test_without_consent_nothing_is_fetched_and_nothing_written(
    run: Run, picture: Path, given: tuple[str, ...], refused: tuple[int, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetched(*_: object, **__: object) -> None:
        raise AssertionError("something was fetched")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", fetched)
    monkeypatch.setattr("api.indexing.load_backbone", fetched)
    code, shape = run("index", picture, "--backbone", NAME, *given)
    assert (code, shape["error"]["kind"]) == refused
    assert LICENCE in shape["error"]["message"]
    assert not (picture.parents[1] / "store").exists()


def test_consent_is_asked_for_once_recorded_and_shown(
    run: Run, picture: Path, weights: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    made = ("index", picture.parent, "--backbone", NAME, "--weights", weights, "--workers", 1)
    assert run(*made, "--accept-license", LICENCE)[0] == 0
    painted(2).save(picture.parent / "b.png")
    assert run("index", picture.parent)[1]["indexed"] == 1
    assert run("search", picture, "-k", 1)[0] == 0
    (status,) = run("status")[1]["collections"]
    assert (status["licence"], status["licence_accepted"]) == (LICENCE, LICENCE)
    assert status["licence_accepted_at"].endswith("+00:00")
    with pytest.raises(SystemExit):
        main(["--store", str(tmp_path / "store"), "status"])
    assert f"{LICENCE} (accepted {status['licence_accepted_at'][:10]})" in capsys.readouterr().out
    # Another collection asks again.
    assert run("--collection", "other", *made)[0] == 4


def test_the_environment_and_init_can_agree_in_advance(
    run: Run, picture: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = ("index", picture, "--backbone", NAME, "--weights", weights, "--workers", 1)
    assert run("init", "--accept-license", "yes")[0] == 2
    assert not (tmp_path / "store").exists()
    assert run("init", "--accept-license", LICENCE)[0] == 0
    assert read_settings(tmp_path / "store").accept_license == LICENCE
    assert run(*made)[0] == 0
    monkeypatch.setenv("LOOKALIKE_ACCEPT_LICENSE", "mit")
    code, shape = run("--collection", "other", *made)
    assert (code, shape["error"]["kind"]) == (2, "UsageError")
    monkeypatch.setenv("LOOKALIKE_ACCEPT_LICENSE", LICENCE)
    assert run("--collection", "other", *made)[0] == 0
    assert {one["licence_accepted"] for one in run("status")[1]["collections"]} == {LICENCE}


def test_a_script_agrees_by_an_argument(picture: Path, weights: Path, tmp_path: Path) -> None:
    with lookalike.open(tmp_path / "store") as album:
        with pytest.raises(LicenceNotAccepted, match=LICENCE):
            album.index(picture, backbone=NAME, weights=weights, progress=False)
        album.index(picture, backbone=NAME, weights=weights, accept_license=LICENCE, progress=False)
        assert album.index(picture, progress=False).counts.unchanged == 1


def test_consent_once_recorded_keeps_its_date(store: Store) -> None:
    space = FakeBackbone().space
    assert store.open_collection("default", space).licence_accepted is None
    first = store.open_collection("default", space, accepted=LICENCE)
    assert first.licence_accepted == LICENCE
    assert store.open_collection("default", space, accepted=LICENCE) == first
    assert store.open_collection("default", space) == first
    again = store.open_collection("default", space, accepted=LICENCE, labels=True)
    assert again.licence_accepted_at == first.licence_accepted_at


def test_reembed_asks_once_and_remembers(run: Run, picture: Path, weights: Path) -> None:
    assert run("index", picture.parent, "--workers", 1)[0] == 0
    again = ("reembed", "--backbone", NAME, "--weights", weights, "--workers", 1)
    code, shape = run(*again)
    assert (code, shape["error"]["kind"]) == (4, "LicenceNotAccepted")
    assert run(*again, "--accept-license", LICENCE)[0] == 0
    painted(2).save(picture.parent / "b.png")
    assert run("index", picture.parent, "--workers", 1)[0] == 0
    assert run(*again)[1]["embedded"] == 1, "agreed to on the first run"
    assert run("promote", "--yes")[0] == run("rollback", "--yes")[0] == 0
    assert run(*again)[0] == 0, "agreed to before it was promoted and rolled back"
    # Another collection asks again, as `index` does.
    assert run("--collection", "other", "index", picture.parent, "--workers", 1)[0] == 0
    assert run("--collection", "other", *again)[0] == 4
