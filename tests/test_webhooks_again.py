"""Receivers that missed the end of a job, and are told of it again when somebody asks."""

import time
from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from api.http.app import Parts, create_app
from api.http.readiness import Readiness
from api.http.thumbnails import Thumbnails
from api.webhooks.deliveries import Deliveries
from api.webhooks.rules import WebhookRules, rules_of
from api.workspace import Workspace
from search.storing.due_webhooks import DueWebhooks
from search.storing.server_jobs import Owner, ServerJob, ServerJobs
from search.storing.store import Store
from tests.fakes import InProcessDecoder
from tests.receiver import Receiver, receiving

HERE, LATER = Owner("here", "1-a", 60.0), Owner("here", "2-b", 60.0)
FAILED = {"state": "failed", "problem": None}


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


def ended(store: Store, webhook: str | None) -> ServerJob:
    jobs = ServerJobs(store.database)
    return jobs.cancel(jobs.create("dedup", "default", {}, webhook).id)


def given_up(store: Store, webhook: str) -> ServerJob:
    """Return a job whose receiver has not been reached and is not tried any more."""
    job, due = ended(store, webhook), DueWebhooks(store.database)
    assert due.take(job.id, HERE) is not None
    assert due.settle(job.id, HERE, FAILED, None)
    return job


def client_of(store: Store, rules: WebhookRules) -> TestClient:
    workspace = Workspace(store.root)
    parts = Parts(workspace, Thumbnails(InProcessDecoder()), Readiness(workspace), webhooks=rules)  # type: ignore[arg-type]
    return TestClient(create_app(parts))


def test_a_webhook_that_failed_for_good_is_called_again_and_known_by_its_id(
    local_store: Store, receiver: Receiver
) -> None:
    job, rules = given_up(local_store, f"{receiver.url}/a"), rules_of([receiver.url])
    client, jobs = client_of(local_store, rules), ServerJobs(local_store.database)
    told = client.post(f"/v1/jobs/{job.id}/webhook").json()["webhook_delivery"]
    assert (told["state"], told["attempts"], told["problem"]) == ("due", 0, None)
    ids = []
    with Deliveries(local_store.root, local_store.database, rules, [b"k" * 32]):
        for _ in range(2):  # also one that had arrived is told again
            ids.append(receiver.next().headers["webhook-id"])
            while (now := jobs.get(job.id)).webhook_outcome is None:
                time.sleep(0.05)
            assert (now.webhook_outcome["state"], now.webhook_attempts) == ("delivered", 1)
            assert client.post(f"/v1/jobs/{job.id}/webhook").status_code == 202
    assert len(set(ids)) == 1


def test_who_cannot_be_called_is_not_and_the_reason_is_told(local_store: Store) -> None:
    jobs, address = ServerJobs(local_store.database), "https://hooks.example/a"
    client, closed = client_of(local_store, rules_of(["public"])), client_of(local_store, WebhookRules())
    waiting, silent = jobs.create("dedup", "default", {}, address), ended(local_store, None)
    failed = given_up(local_store, address)
    for asked, job, code, says in (
        (client, waiting.id, 409, "is queued; its webhook is called when it has ended"),
        (client, silent.id, 422, "has no webhook"),
        (closed, failed.id, 422, "serve --allow-webhook"),
        (client, 999, 404, "there is no job 999"),
    ):
        answer = asked.post(f"/v1/jobs/{job}/webhook")
        assert (answer.status_code, says in answer.json()["detail"]) == (code, True), answer.text
    assert DueWebhooks(local_store.database).waiting() == 0


def test_what_waits_for_its_next_attempt_is_told_at_once_and_what_is_being_told_not_twice(local_store: Store) -> None:
    job, due, jobs = ended(local_store, "https://hooks.example/a"), *_both(local_store)
    assert due.take(job.id, HERE) is not None
    assert not due.again(job.id), "it is being told"
    assert jobs.get(job.id).webhook_attempts == 1
    assert due.settle(job.id, HERE, FAILED | {"state": "due"}, 7_200.0)
    assert due.due(LATER) == []
    assert due.again(job.id)
    assert [one.job_id for one in due.due(LATER)] == [job.id]


def _both(store: Store) -> tuple[DueWebhooks, ServerJobs]:
    return DueWebhooks(store.database), ServerJobs(store.database)
