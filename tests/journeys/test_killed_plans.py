"""Jobs that act on plans, of servers that are killed in the middle: they are gone on with, and nothing is lost."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from api.cli import main
from search.storing.server_jobs import ServerJobs
from search.storing.store import Store
from tests.conftest import painted
from tests.file_snapshots import snapshot
from tests.served import server, stopped_child

BASE = "/v1/collections/default"
PICTURES = 3


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """Three pictures, each with a copy, and a store of them."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(PICTURES):
        painted(number, (160, 120)).save(photos / f"{number}.png")
        (photos / f"{number} again.png").write_bytes((photos / f"{number}.png").read_bytes())
    with pytest.raises(SystemExit):
        main(["--store", str(tmp_path / "store"), "--progress", "none", "index", str(photos)])
    return tmp_path


@contextmanager
def asked(album: Path) -> Iterator[tuple[httpx.Client, "subprocess.Popen[str]"]]:
    with server(album / "store") as (url, process), httpx.Client(base_url=url, timeout=60) as client:
        yield client, process


def ended(client: httpx.Client, job: Mapping[str, Any]) -> dict[str, Any]:
    """Return a job when it has ended."""
    while (found := client.get(f"/v1/jobs/{job['id']}").json())["state"] in ("queued", "running"):
        time.sleep(0.05)
    return dict(found)


def kill_in_the_middle(album: Path, process: "subprocess.Popen[str]", job: Mapping[str, Any]) -> None:
    """Kill a server and the process of its job, as the end of a container does, while the job is half done."""
    child = stopped_child(process.pid)
    for pid in (process.pid, child):
        os.kill(pid, signal.SIGKILL)
    process.wait()
    with Store(album / "store") as opened:
        left = ServerJobs(opened.database).get(int(job["id"]))
        assert (left.state, left.attempts) == ("running", 1)


def copies(album: Path) -> int:
    """Return how many copies lie at their place; each content lies somewhere."""
    contents = {path.read_bytes() for path in album.joinpath("photos").rglob("*.png")}
    assert len(contents) == PICTURES, "a content is lost"
    return len(list(album.joinpath("photos").glob("*.png"))) - PICTURES


def test_plans_are_applied_and_undone_through_the_death_of_the_server_and_of_the_job_in_the_middle(
    album: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = snapshot(album / "photos")
    monkeypatch.setenv("LOOKALIKE_FAULT", "quarantine.moved:2:stop")
    with asked(album) as (client, process):
        found = ended(client, client.post(f"{BASE}/dedup", json={"threshold": 0.99}).json())
        plan = f"{BASE}/plans/{found['result']['plan']}"
        applying = client.post(f"{plan}/apply", json={"max_fraction": 1}).json()
        kill_in_the_middle(album, process, applying)
        assert copies(album) == 1, "two of three are in quarantine"

    monkeypatch.setenv("LOOKALIKE_FAULT", "undo.moved:2:stop")
    with asked(album) as (client, process):
        job = ended(client, applying)
        assert (job["state"], job["problem"], copies(album)) == ("done", None, 0), job
        assert (client.get(plan).json()["state"], client.get(BASE).json()["images"]) == ("applied", PICTURES)
        undoing = client.post(f"{plan}/undo", json={}).json()
        kill_in_the_middle(album, process, undoing)
        assert copies(album) == 2

    monkeypatch.delenv("LOOKALIKE_FAULT")
    with asked(album) as (client, process):
        job = ended(client, undoing)
        assert (job["state"], job["problem"]) == ("done", None), job
        assert (client.get(plan).json()["state"], client.get(BASE).json()["images"]) == ("undone", 2 * PICTURES)
    assert snapshot(album / "photos") == before
