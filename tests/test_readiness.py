"""When a server says that searches will be answered, and how many cores it answers with."""

import threading
from pathlib import Path

import pytest

from api.http.readiness import Readiness, drawn_picture
from api.queries import Found, QueryRequest
from api.workspace import Workspace
from indexer.devices import usable_cores
from search.errors import UsageError, WeightsUnavailable
from search.records import Collection
from search.storing.store import Store
from tests.stored_rows import add


def test_a_server_is_ready_when_it_has_searched_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Store.create(tmp_path / "store") as store:
        add(store, 1, 3)
    searched: list[bytes] = []
    loads = [False]

    def embedder(_target: Collection) -> None:
        if not loads[0]:
            raise WeightsUnavailable("the weights are gone")

    def search(_target: Collection, data: bytes, _name: str, wanted: QueryRequest) -> Found:
        searched.append(data)
        assert wanted.k == 1, "few enough that no figure of live searches counts it"
        return Found([], 0.0, 0.0, 0.0)

    with Workspace(tmp_path / "store") as workspace:
        monkeypatch.setattr(workspace, "embedder", embedder)
        monkeypatch.setattr(workspace, "search_by_picture", search)
        readiness = Readiness(workspace)
        assert readiness.reason() == "starting"
        readiness.warm()
        assert readiness.reason() == "collection default: the weights are gone"
        loads[0] = True
        readiness.warm()
        assert readiness.reason() is None
    assert searched == [drawn_picture()]


def test_a_server_that_ends_does_not_end_in_the_middle_of_loading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store.create(tmp_path / "store") as store:
        add(store, 1, 3)
    loading, let, loaded = threading.Event(), threading.Event(), threading.Event()

    def embedder(_target: Collection) -> None:
        loading.set()
        assert let.wait(20)
        loaded.set()
        raise WeightsUnavailable("too late")

    with Workspace(tmp_path / "store") as workspace:
        monkeypatch.setattr(workspace, "embedder", embedder)
        readiness = Readiness(workspace)
        readiness.start()
        assert loading.wait(20)
        threading.Timer(0.1, let.set).start()
        readiness.stop()
        assert loaded.is_set()


def test_a_process_uses_the_cores_that_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOOKALIKE_CORES", raising=False)
    assert usable_cores() >= 1
    monkeypatch.setenv("LOOKALIKE_CORES", "3")
    assert usable_cores() == 3
    monkeypatch.setenv("LOOKALIKE_CORES", "many")
    with pytest.raises(UsageError, match="LOOKALIKE_CORES='many' is no number of cores: choose 1 or more"):
        usable_cores()
