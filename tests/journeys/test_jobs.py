"""Jobs of a real server: followed, ended, and gone on with when the server was killed."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from api.cli import main
from search.storing.server_jobs import ServerJobs
from search.storing.store import Store
from tests.conftest import painted
from tests.served import server, stopped_child

BASE = "/v1/collections/default"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of an album, which tests change one after the other."""
    return album(tmp_path_factory.mktemp("jobs"))


def album(folder: Path) -> Path:
    """Return a store of four pictures and a copy of the first."""
    (folder / "photos").mkdir()
    for number in range(4):
        painted(number, (160, 120)).save(folder / "photos" / f"{number}.png")
    (folder / "photos" / "again.png").write_bytes((folder / "photos" / "0.png").read_bytes())
    with pytest.raises(SystemExit):
        main(["--store", str(folder / "store"), "--progress", "none", "index", str(folder / "photos")])
    return folder / "store"


@contextmanager
def asked(store: Path, *options: str) -> Iterator[tuple[httpx.Client, "subprocess.Popen[str]"]]:
    """A server in a process of its own, and who asks it."""
    with server(store, *options) as (url, process), httpx.Client(base_url=url, timeout=60) as client:
        yield client, process


@pytest.fixture(scope="module")
def client(store: Path) -> Iterator[httpx.Client]:
    with asked(store) as (made, _):
        yield made


def followed(client: httpx.Client, job: str, **headers: str) -> list[tuple[int, dict[str, Any]]]:
    """Return the events of a job until its end: (id, job)."""
    with client.stream("GET", f"/v1/jobs/{job}/events", headers=headers) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        text = answer.read().decode()
    found = []
    for event in text.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in event.splitlines() if not line.startswith(":"))
        if lines:
            assert lines["event"] == "job"
            found.append((int(lines["id"]), json.loads(lines["data"])))
    return found


def ended(client: httpx.Client, job: dict[str, Any]) -> dict[str, Any]:
    *_, (_, last) = followed(client, job["id"])
    return last


def test_a_dedup_job_is_followed_to_its_end_and_its_groups_are_shown(client: httpx.Client) -> None:
    assert client.get(f"{BASE}/groups").json()["type"] == "urn:lookalike:problem:ReportNotFound"
    answer = client.post(f"{BASE}/dedup", json={"threshold": 0.9, "protect": []})
    job = answer.json()
    assert (answer.status_code, answer.headers["location"]) == (202, f"/v1/jobs/{job['id']}")
    assert (job["kind"], job["collection"], job["request"]) == ("dedup", "default", {"threshold": 0.9, "protect": []})
    events = followed(client, job["id"])
    assert [one for one, _ in events] == sorted({one for one, _ in events})
    assert events[-1][1] == client.get(f"/v1/jobs/{job['id']}").json()
    last = events[-1][1]
    assert (last["state"], last["problem"], last["created_at"] <= last["started_at"] <= last["ended_at"]) == (
        "done",
        None,
        True,
    )
    result = last["result"]
    assert (result["groups"], result["members"], result["threshold_source"]) == (1, 1, "user")
    assert followed(client, job["id"], **{"last-event-id": str(events[-1][0])}) == []
    groups = client.get(f"{BASE}/groups").json()
    assert (groups["plan"], groups["changed"], groups["groups_total"]) == (result["plan"], False, 1)
    assert client.get(f"{BASE}/groups", params={"threshold": 0.9}).json() == groups
    (report,) = client.get(f"{BASE}/dedup").json()["items"]
    assert report == {name: groups[name] for name in report}
    listed = client.get("/v1/jobs", params={"state": "done", "collection": "default"}).json()["items"]
    assert listed[0] == last
    assert client.get("/v1/jobs", params={"state": ["queued", "running"]}).json()["items"] == []


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ({"threshold": 2}, "threshold"),
        ({"threshold": "0.9"}, "threshold"),
        ({"keep": ["largest"]}, "there is no keeper rule 'largest'"),
        ({"protect": ["/no/such/folder"]}, "below which no image of this store lies"),
        ({"within": "photos"}, "within is 'photos', below which no image of this store lies"),
        ({"expires": "tomorrow"}, "expires"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_dedup_job_that_cannot_be_is_refused_at_once(
    client: httpx.Client, body: dict[str, object], detail: str
) -> None:
    answer = client.post(f"{BASE}/dedup", json=body)
    assert (answer.status_code, detail in answer.json()["detail"]) == (422, True), answer.text
    assert client.post(f"{BASE}/dedup", json={"between": "nowhere"}).status_code == 404


def test_a_job_that_fails_says_why_as_a_problem(client: httpx.Client, store: Path) -> None:
    with Store(store) as opened:
        lost = ServerJobs(opened.database).create("dedup", "nowhere", {})
    last = ended(client, {"id": str(lost.id)})
    assert (last["state"], last["result"]) == ("failed", None)
    assert (last["problem"]["type"], last["problem"]["status"]) == ("urn:lookalike:problem:CollectionNotFound", 404)


def test_a_job_is_cancelled_while_it_waits_and_while_it_runs(client: httpx.Client) -> None:
    job, waiting = (client.post(f"{BASE}/dedup", json={"threshold": 0.5}).json() for _ in range(2))
    assert client.post(f"/v1/jobs/{waiting['id']}/cancel").json()["state"] == "cancelled"
    while client.get(f"/v1/jobs/{job['id']}").json()["state"] == "queued":
        time.sleep(0.02)
    answer = client.post(f"/v1/jobs/{job['id']}/cancel")
    assert answer.status_code == 202
    last = ended(client, job)
    assert (last["state"], last["problem"]) == ("cancelled", None)
    assert client.post(f"/v1/jobs/{job['id']}/cancel").json()["state"] == "cancelled"
    assert client.post("/v1/jobs/999999/cancel").status_code == 404


def test_a_job_outlives_the_server_that_ran_it_killed_or_ended(store: Path, tmp_path: Path) -> None:
    store = shutil.copytree(store, tmp_path / "store")  # another server would go on with its jobs
    with asked(store) as (client, process):
        job = client.post(f"{BASE}/dedup", json={"threshold": 0.8}).json()
        while client.get(f"/v1/jobs/{job['id']}").json()["state"] == "queued":
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
    with Store(store) as opened:
        left = ServerJobs(opened.database).get(int(job["id"]))
        assert (left.state, left.attempts) == ("running", 1)
    with asked(store) as (client, process):
        last = ended(client, job)
        assert (last["state"], last["result"]["groups"]) == ("done", 1)
        assert last["started_at"] < last["ended_at"]
        job = client.post(f"{BASE}/dedup", json={"threshold": 0.8}).json()
        while client.get(f"/v1/jobs/{job['id']}").json()["state"] == "queued":
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)
    with Store(store) as opened:
        left = ServerJobs(opened.database).get(int(job["id"]))
        assert (left.state, left.attempts) == ("queued", 0)
        ServerJobs(opened.database).cancel(left.id)


def refused_while_edited(client: httpx.Client, store: Path, listed: list[dict[str, Any]]) -> None:
    """A plan that is not there, or is not as it was written, does nothing. listed: all there are, the newest first."""
    for missing in ("20260101-00000000", "..%2F..%2Fetc"):
        assert client.get(f"{BASE}/plans/{missing}").status_code in (404, 422)
        assert client.post(f"{BASE}/plans/{missing}/undo", json={}).status_code in (404, 422)
    file = store / "plans" / f"{listed[0]['id']}.json"
    text = file.read_text()
    file.chmod(0o600)
    file.write_text(text.replace('"same_bytes"', '"near"'))
    edited = client.post(f"{BASE}/plans/{listed[0]['id']}/apply", json={})
    assert (edited.status_code, client.get(f"{BASE}/plans").json()["items"]) == (409, listed[1:])
    file.write_text(text)


def previewed(client: httpx.Client, plan: str, folder: str) -> None:
    """What a plan would do is told before anything is done, and of which folder that would be too much."""
    would = client.get(f"{plan}/preview").json()
    assert (would["groups"], would["files"], would["left"], would["over"]) == (1, 1, {}, None)
    tight = client.get(f"{plan}/preview", params={"max_fraction": 0.1}).json()
    assert tight["over"] == {"folder": folder, "images": 5, "going": 1, "max_fraction": 0.2}
    listed = client.get(f"{plan}/preview", params={"max_fraction": 0.1, "action": "list", "include": "near"}).json()
    assert (listed["files"], listed["over"]) == (1, None)
    assert client.get(f"{plan}/preview", params={"include": "far"}).status_code == 422


def shown_as_applied(plan: dict[str, Any]) -> None:
    """A plan tells what was done by it and when, and where its copies are."""
    assert (plan["state"], plan["action"], plan["made_at"] <= plan["acted_at"]) == ("applied", "quarantine", True)
    assert [member["place"] for group in plan["items"] for member in group["members"]] == ["quarantine"]


def test_a_plan_is_applied_shown_undone_and_purged_over_http(client: httpx.Client, store: Path) -> None:
    job = ended(client, client.post(f"{BASE}/dedup", json={"threshold": 0.9}).json())
    plan = f"{BASE}/plans/{job['result']['plan']}"
    listed = client.get(f"{BASE}/plans").json()["items"]
    assert (listed[0]["id"], listed[0]["state"], listed[0]["files"]) == (job["result"]["plan"], "planned", 1)
    shown = client.get(plan).json()
    (group,) = shown.pop("items")
    assert shown == listed[0] | {"next_cursor": None}
    refused_while_edited(client, store, listed)
    copy = Path(group["members"][0]["path"])
    assert {copy.name, Path(group["keeper"]["path"]).name} == {"0.png", "again.png"}
    previewed(client, plan, str(copy.parent))
    small = client.post(f"{plan}/apply", json={"max_fraction": 0.1})
    assert (small.status_code, small.json()["type"]) == (409, "urn:lookalike:problem:GuardRefused")
    (drop,) = ended(client, client.post(f"{plan}/apply", json={"action": "list"}).json())["result"]["drop"]
    assert drop["id"] == group["members"][0]["id"]
    tried = ended(client, client.post(f"{plan}/apply", json={"dry_run": True}).json())["result"]
    assert (tried["files"], tried["dry_run"], copy.exists()) == (1, True, True)
    images = client.get(BASE).json()["images"]
    done = ended(client, client.post(f"{plan}/apply", json={}).json())
    assert (done["state"], done["result"]["files"], done["kind"], copy.exists()) == ("done", 1, "apply", False)
    assert client.get(BASE).json()["images"] == images - 1
    shown_as_applied(client.get(plan).json())
    assert client.get(f"{BASE}/groups").json()["items"] == [], "what went is not shown"
    back = ended(client, client.post(f"{plan}/undo", json={}).json())
    assert (back["result"]["files"], copy.exists(), client.get(plan).json()["state"]) == (1, True, "undone")
    ended(client, client.post(f"{plan}/apply", json={}).json())
    young = ended(client, client.post(f"{plan}/purge", json={}).json())
    assert (young["result"]["files"], young["result"]["young"]) == (0, 1)
    old = ended(client, client.post(f"{plan}/purge", json={"older_than": "0h"}).json())
    assert (old["result"]["files"], client.get(plan).json()["state"]) == (1, "purged")


def to_import(folder: Path) -> dict[str, list[Any]]:
    """Return the body of an import: 60 pictures and a broken one in a folder, one with a key, and one not allowed."""
    many, alone = folder / "many", folder / "alone.png"
    many.mkdir()
    for number in range(60):
        painted(1000 + number, (160, 120)).save(many / f"{number}.png")
    (many / "broken.png").write_bytes(b"no picture")
    painted(2000, (160, 120)).save(alone)
    rows = [{"uri": str(alone), "key": "alone", "metadata": {"n": 1}}, {"uri": "/etc/hostname"}]
    return {"sources": [str(many)], "manifest": rows}


def killed_while_both_run(client: httpx.Client, process: "subprocess.Popen[str]", body: object) -> list[dict[str, Any]]:
    """Return a dedup job and an import beside it, of a server that is killed then; the dedup stops where it writes."""
    looking = client.post(f"{BASE}/dedup", json={"threshold": 0.9}).json()
    child = stopped_child(process.pid)
    job = client.post(f"{BASE}/imports", json=body).json()
    while not (client.get(f"/v1/jobs/{job['id']}").json()["progress"] or {}).get("done"):
        time.sleep(0.02)
    assert client.get(f"/v1/jobs/{looking['id']}").json()["state"] == "running"
    process.send_signal(signal.SIGKILL)
    process.wait()
    os.kill(child, signal.SIGKILL)
    return [looking, job]


def test_an_import_takes_in_folders_and_addresses_beside_a_dedup_and_survives_the_death_of_its_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, body = album(tmp_path), to_import(tmp_path)
    outside = str(tmp_path / "many" / ".." / ".." / "etc")
    monkeypatch.setenv("LOOKALIKE_FAULT", "plan.write:1:stop")
    with asked(store, "--allow-root", str(tmp_path)) as (client, process):
        before = client.get(BASE).json()["images"]
        for wrong in ({"sources": ["/etc"]}, {"sources": [outside]}, {}, {"sources": [], "a": 1}):
            assert client.post(f"{BASE}/imports", json=wrong).status_code == 422, wrong
        looking, job = killed_while_both_run(client, process, body)
    monkeypatch.delenv("LOOKALIKE_FAULT")
    with asked(store, "--allow-root", str(tmp_path)) as (client, process):
        assert ended(client, looking)["state"] == "done"
        last = ended(client, job)
        assert (last["state"], last["result"]["outcomes"]) == ("done", {"added": 1, "rejected": 1}), last
        index = last["result"]["index"]
        assert (index["seen"], index["failures_by_reason"]) == (61, {"not_an_image": 1})
        assert client.get(BASE).json()["images"] == before + 61
        keys = [image["key"] for image in client.get(f"{BASE}/images", params={"limit": 1000}).json()["items"]]
        assert len(set(keys)) == len(keys) == before + 61
        assert client.get(f"{BASE}/images/by-key/alone").json()["metadata"] == {"n": 1}
        (rejected,) = last["result"]["rejected"]
        assert rejected["uri"] == "/etc/hostname"
