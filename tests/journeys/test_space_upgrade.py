"""`reembed`, `promote` and `rollback` from the command line, with the built-in backbone at another preparation."""

import json
from pathlib import Path

import pytest

from api.cli import main
from tests.conftest import painted


def run(capsys: pytest.CaptureFixture[str], store: Path, *arguments: object) -> tuple[int, dict]:  # type: ignore[type-arg]
    capsys.readouterr()
    code = 0
    try:
        main(["--store", str(store), "--progress", "none", "--json", *map(str, arguments)])
    except SystemExit as stop:
        code = int(stop.code or 0)
    return code, json.loads(capsys.readouterr().out)


def test_a_collection_moves_to_another_preparation_and_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    photos, store = tmp_path / "photos", tmp_path / "store"
    photos.mkdir()
    for number in range(4):
        painted(number, (640, 480)).save(photos / f"{number}.jpg")
    run(capsys, store, "index", photos)
    old = run(capsys, store, "search", photos / "2.jpg", "-k", 4)[1]["matches"]
    assert run(capsys, store, "status")[1]["collections"][0]["upgrade"] is None

    code, report = run(capsys, store, "reembed", "--backbone", "builtin", "--dct-scaling")
    assert code == 0
    assert (report["embedded"], report["missing"], report["state"]) == (4, 0, "ready")
    compared = report["comparison"]
    assert (compared["images"], compared["queries"], compared["overlap_at_k"]) == (4, 4, 1.0)
    assert run(capsys, store, "search", photos / "2.jpg", "-k", 4)[1]["matches"] == old
    (status,) = run(capsys, store, "status")[1]["collections"]
    assert (status["upgrade"]["state"], status["upgrade"]["to_space"]) == ("ready", report["space"])

    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    code, shape = run(capsys, store, "promote")
    question = f"promote the collection 'default' from {status['space']} to {report['space']}?"
    assert (code, question in shape["error"]["message"]) == (4, True)
    code, shape = run(capsys, store, "promote", "--yes")
    assert (code, shape["space"], shape["missing"]) == (0, report["space"], 0)
    new = run(capsys, store, "search", photos / "2.jpg", "-k", 4)[1]["matches"]
    assert [match["id"] for match in new][0] == old[0]["id"]
    assert [match["score"] for match in new] != [match["score"] for match in old]
    assert run(capsys, store, "verify", "--deep")[1] == {"ok": True, "faults": []}
    assert run(capsys, store, "index", photos)[1]["unchanged"] == 4, "the collection's own preparation is the new one"

    code, shape = run(capsys, store, "rollback", "--yes")
    assert (code, shape["from"]) == (0, report["space"])
    assert run(capsys, store, "search", photos / "2.jpg", "-k", 4)[1]["matches"] == old
    assert run(capsys, store, "rollback", "--yes")[0] == 2
    assert run(capsys, store, "reembed", "--backbone", "builtin")[0] == 2


def test_a_picture_that_is_gone_is_named_and_promote_refuses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos, store = tmp_path / "photos", tmp_path / "store"
    photos.mkdir()
    for number in range(2):
        painted(number, (320, 240)).save(photos / f"{number}.jpg")
    run(capsys, store, "index", photos)
    (photos / "1.jpg").unlink()
    code, report = run(capsys, store, "reembed", "--backbone", "builtin", "--dct-scaling")
    assert (code, report["failures_by_reason"], report["missing"]) == (3, {"vanished": 1}, 1)
    code, shape = run(capsys, store, "promote", "--yes")
    assert code == 4
    assert "--allow-missing" in shape["error"]["message"]
    assert run(capsys, store, "promote", "--yes", "--allow-missing")[1]["missing"] == 1
