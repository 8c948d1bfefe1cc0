"""`backup`, `restore`, `export` and `import` from the command line."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from starlette.testclient import TestClient

from api.cli import main
from api.http.app import Parts, create_app
from api.http.readiness import Readiness
from api.http.thumbnails import Thumbnails
from api.workspace import Workspace
from indexer.backbones.backbones import BUILTIN_PREPARATION
from indexer.decoding.decoder_pool import DecoderPool
from search.storing.store import Store
from tests.conftest import painted
from tests.stored_rows import add

Run = Callable[..., tuple[int, dict]]  # type: ignore[type-arg]


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command with --json on tmp_path/store; return its exit code and its one JSON object."""

    def call(*arguments: object, store: str = "store") -> tuple[int, dict]:  # type: ignore[type-arg]
        capsys.readouterr()
        code = 0
        try:
            main(["--store", str(tmp_path / store), "--progress", "none", "--json", *map(str, arguments)])
        except SystemExit as stop:
            code = int(stop.code or 0)
        return code, json.loads(capsys.readouterr().out)

    return call


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A store with six images."""
    with Store.create(tmp_path / "store") as store:
        add(store, 0, 6)
    return tmp_path / "store"


def test_backup_and_restore_move_a_store(made: Path, run: Run, tmp_path: Path) -> None:
    code, shape = run("backup", tmp_path / "all.tar")
    assert code == 0
    assert set(shape) == {"backup", "made_at", "files", "bytes", "collections", "left_out"}
    assert shape["collections"] == [{"name": "default", "images": 6, "sequence": 1}]
    assert shape["files"] == 2
    assert run("backup", tmp_path / "all.tar")[0] == 2
    code, shape = run("restore", tmp_path / "all.tar", "--into", tmp_path / "again")
    assert code == 0
    assert (shape["store"], shape["index_error"]) == (str(tmp_path / "again"), None)
    by_id = run("search", "--id", 3)[1]["matches"]
    assert run("search", "--id", 3, store="again")[1]["matches"] == by_id
    code, shape = run("restore", tmp_path / "all.tar")
    assert code == 4
    assert "is not empty" in shape["error"]["message"]


def test_export_writes_what_where_lets_through(made: Path, run: Run, tmp_path: Path) -> None:
    code, shape = run("export", tmp_path / "out", "--where", "path like '%/1.jpg'", "--dtype", "float32")
    assert code == 0
    assert (shape["rows"], shape["dtype"], shape["collection"]) == (1, "float32", "default")
    assert {path.name for path in (tmp_path / "out").iterdir()} == set(shape["files"])
    for wrong in (("--dtype", "int8"), ("--where", "nothing = 1")):
        assert run("export", tmp_path / "other", *wrong)[0] == 2


def test_imported_embeddings_are_searched_by_id_and_key_and_a_picture_is_refused(run: Run, tmp_path: Path) -> None:
    np.save(tmp_path / "e.npy", np.random.default_rng(0).normal(size=(4, 5)))
    pq.write_table(pa.table({"key": list("abcd"), "caption": ["one"] * 4}), tmp_path / "m.parquet")
    arguments = ("import", tmp_path / "e.npy", "--meta", tmp_path / "m.parquet", "--space-name", "mine")
    code, shape = run(*arguments)
    assert (code, shape["indexed"], shape["dims"], shape["failed"]) == (0, 4, 5, 0)
    assert run(*arguments)[1]["unchanged"] == 4
    best = run("search", "--key", "b", "-k", 2)[1]["matches"][0]
    assert (best["key"], best["metadata"], best["relation"]) == ("b", {"caption": "one"}, "identical")
    assert run("dedup")[0] == 0
    painted(0).save(tmp_path / "picture.png")
    for refused in (("search", tmp_path / "picture.png"), ("index", tmp_path / "picture.png")):
        code, shape = run(*refused)
        assert code == 2
        assert "were imported, so no backbone here" in shape["error"]["message"]
    assert run("import", tmp_path / "nowhere.npy", "--space-name", "x", store="never")[0] == 2
    assert not (tmp_path / "never").exists()
    rows = np.load(tmp_path / "e.npy")
    rows[0] = np.nan
    np.save(tmp_path / "e.npy", rows)
    assert run("import", tmp_path / "e.npy", "--space-name", "mine", "--collection", "other")[0] == 3


def test_over_http_imported_embeddings_are_ready_and_a_picture_is_a_mistake_of_the_caller(
    run: Run, tmp_path: Path
) -> None:
    np.save(tmp_path / "e.npy", np.random.default_rng(0).normal(size=(4, 5)))
    run("import", tmp_path / "e.npy", "--space-name", "mine")
    painted(0).save(tmp_path / "picture.png")
    with Workspace(tmp_path / "store") as workspace, DecoderPool(BUILTIN_PREPARATION, children=1) as pool:
        readiness = Readiness(workspace)
        parts = Parts(workspace, Thumbnails(pool), readiness, ("testserver",))
        with TestClient(create_app(parts), raise_server_exceptions=False) as client:
            search = "/v1/collections/default/search"
            refused = client.post(search, files={"image": ("picture.png", (tmp_path / "picture.png").read_bytes())})
            assert refused.status_code == 422
            assert "were imported" in refused.json()["detail"]
            assert client.post(search, json={"id": "2", "k": 1}).json()["matches"][0]["id"] == "2"
            assert readiness._load(workspace.collection("default")) == []
            assert client.get("/v1/collections").json()["items"][0]["backbone"] == "mine"
