"""Receivers of a real server: told of every end of a job, signed, through the death of the server."""

import base64
import hashlib
import hmac
import json
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from threading import Event
from typing import Any

import httpx2 as httpx
import pytest

from api.cli import main
from api.client import Client, verify_webhook
from search.storing.server_jobs import ServerJobs
from search.storing.store import Store
from tests.conftest import painted
from tests.receiver import Call, Receiver, receiving, status
from tests.served import server

BASE = "/v1/collections/default"
KEY = b"32 bytes that only this test has"
FIRST_S, SECOND_S = 1, 2
# The real server, but for one thing: it waits a second, and then two, instead of five and thirty.
SOONER = f"import api.webhooks.outcomes as outcomes; outcomes.DELAYS_S = ({FIRST_S}, {SECOND_S}, 60)"
SECRET = f"whsec_{base64.b64encode(KEY).decode()}"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pictures and a copy of the first."""
    folder = tmp_path_factory.mktemp("webhooks")
    (folder / "photos").mkdir()
    for number in range(2):
        painted(number, (160, 120)).save(folder / "photos" / f"{number}.png")
    (folder / "photos" / "again.png").write_bytes((folder / "photos" / "0.png").read_bytes())
    (folder / "secret").write_text(f"{SECRET}\n")
    with pytest.raises(SystemExit):
        main(["--store", str(folder / "store"), "--progress", "none", "index", str(folder / "photos")])
    return folder / "store"


@contextmanager
def telling(store: Path, receiver: Receiver) -> Iterator[tuple[httpx.Client, "subprocess.Popen[str]"]]:
    """A server that may call the receiver, below /hooks."""
    secret = ("--webhook-secret-file", str(store.parent / "secret"))
    allowed = (*secret, "--allow-webhook", f"{receiver.url}/hooks", "--allow-webhook", "public")
    with server(store, *allowed, first=SOONER) as (url, process), httpx.Client(base_url=url, timeout=60) as client:
        yield client, process


def delivery(client: httpx.Client, job: str | int, state: str) -> dict[str, Any]:
    """Return how telling of a job went, once it has come so far."""
    while True:
        told = client.get(f"/v1/jobs/{job}").json()["webhook_delivery"]
        if told is not None and told["state"] == state:
            return dict(told)
        time.sleep(0.05)


def signed_rightly(call: Call) -> bool:
    """Tell whether a call has the signature that the specification wants, computed without our code."""
    content = f"{call.headers['webhook-id']}.{call.headers['webhook-timestamp']}.".encode() + call.body
    right = base64.b64encode(hmac.digest(KEY, content, hashlib.sha256)).decode()
    return call.headers["webhook-signature"] == f"v1,{right}"


def refused(client: httpx.Client, receiver: Receiver) -> None:
    """Whom the owner does not name is not called, and no job is started for them."""
    for address, why in (
        (f"{receiver.url}/admin", "scheme is 'http'"),
        ("https://127.0.0.1/hooks", "not everybody can reach 127.0.0.1"),
        ("https://me:secret@hooks.example/", "name or password"),
        ("https://hooks.example/" + "a" * 2048, "webhook"),
    ):
        answer = client.post(f"{BASE}/dedup", json={"threshold": 0.9, "webhook": address})
        assert (answer.status_code, why in answer.json()["detail"]) == (422, True), answer.text
    assert client.get("/v1/jobs").json()["items"] == []


def done(client: httpx.Client, receiver: Receiver) -> None:
    """A job that is done is told as it is, signed, and says how that went."""
    with Client(str(client.base_url)) as pictures:
        job = pictures.dedup(threshold=0.9, webhook=f"{receiver.url}/hooks/done").job
    assert (job.webhook, job.webhook_delivery) == (f"{receiver.url}/hooks/done", None)
    call = receiver.next()
    assert (call.path, call.headers["content-type"]) == ("/hooks/done", "application/json")
    assert signed_rightly(call)
    event = verify_webhook(call.body, call.headers, SECRET)
    told = delivery(client, job.id, "delivered")
    assert told == {"state": "delivered", "attempts": 1, "next_at": None, "problem": None}
    shown = client.get(f"/v1/jobs/{job.id}").json()
    sent = json.loads(call.body)
    assert (event.type, sent["timestamp"], sent["truncated"]) == ("job.done", shown["ended_at"], False)
    assert shown | {"webhook_delivery": None} == {name: sent[name] for name in shown}
    assert (shown["request"], shown["result"]["groups"]) == ({"threshold": 0.9}, 1)


def cancelled(client: httpx.Client, receiver: Receiver) -> None:
    """One who has gone is told no more; all that is counted."""
    receiver.answers["/hooks/gone"] = [status(410)]
    bodies = [{"webhook": f"{receiver.url}/hooks/{name}"} for name in ("first", "gone")]
    first, gone = (client.post(f"{BASE}/dedup", json=body).json()["id"] for body in bodies)
    for one in (gone, first):
        client.post(f"/v1/jobs/{one}/cancel")
    ends = {call.path: json.loads(call.body)["type"] for call in (receiver.next(), receiver.next())}
    assert ends == dict.fromkeys(("/hooks/first", "/hooks/gone"), "job.cancelled")
    given_up = delivery(client, gone, "failed")
    assert (given_up["attempts"], given_up["next_at"]) == (1, None)
    assert "answered 410" in given_up["problem"]["detail"]
    delivery(client, first, "delivered")
    while "lookalike_webhooks_due 0.0" not in (figures := client.get("/metrics").text):
        time.sleep(0.05)
    for line in (
        'lookalike_webhook_attempts_total{outcome="delivered"} 2.0',
        'lookalike_webhook_attempts_total{outcome="given_up"} 1.0',
    ):
        assert line in figures


def killed_while_it_tells(client: httpx.Client, process: "subprocess.Popen[str]", receiver: Receiver) -> Call:
    """Kill the server while a receiver is silent; return the call that was never answered."""
    dead = Event()

    def silence(_to: BaseHTTPRequestHandler) -> None:
        assert dead.wait(60)

    receiver.answers["/hooks/a"] = [silence, status(302, Location=f"{receiver.url}/elsewhere")]
    # The one before it keeps it waiting, and tells nobody: however soon it ends, it takes none of the answers.
    bodies: tuple[dict[str, str], ...] = {}, {"webhook": f"{receiver.url}/hooks/a"}
    _, waiting = (client.post(f"{BASE}/dedup", json=body).json()["id"] for body in bodies)
    client.post(f"/v1/jobs/{waiting}/cancel")
    call = receiver.next()
    assert json.loads(call.body)["id"] == waiting
    process.send_signal(signal.SIGKILL)
    process.wait()
    dead.set()
    return call


def test_a_receiver_is_told_of_every_end_of_a_job_through_the_death_of_the_server_and_nobody_else_is_called(
    store: Path,
) -> None:
    with receiving() as receiver:
        with telling(store, receiver) as (client, process):
            refused(client, receiver)
            done(client, receiver)
            cancelled(client, receiver)
            first = killed_while_it_tells(client, process, receiver)
        job = int(json.loads(first.body)["id"])
        with Store(store) as opened:
            jobs = ServerJobs(opened.database)
            left = jobs.get(job)
            assert (left.state, left.webhook_attempts, left.webhook_outcome) == ("cancelled", 1, None)
            jobs.cancel(job - 1)  # it ran, and would be begun again
        with telling(store, receiver) as (client, _):
            told = delivery(client, job, "delivered")
            assert (told["attempts"], told["problem"]) == (3, None)
        calls = receiver.all()
    again = [call for call in calls if call.headers["webhook-id"] == first.headers["webhook-id"]]
    assert [call.path for call in again] == ["/hooks/a"] * 2, "the redirect was not followed"
    assert {call.body for call in again} == {first.body}
    assert all(signed_rightly(call) for call in (first, *calls))
    before, after = (int(call.headers["webhook-timestamp"]) for call in again)
    assert after - before >= SECOND_S
