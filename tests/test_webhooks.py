"""Webhooks: whom a server calls, how what it sends is signed, what answers mean, and that one tells at a time."""

import asyncio
import base64
import json
import re
import subprocess
import sys
import time
from asyncio.selector_events import BaseSelectorEventLoop
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from socket import create_connection, create_server
from typing import Any
from urllib.request import Request, urlopen

import pytest

from api.client import WebhookNotVerified, verify_webhook
from api.webhooks.calling import Called, CallFailed, call
from api.webhooks.deliveries import AT_ONCE, Deliveries, fair
from api.webhooks.event import MOST_BYTES, body_of, id_of
from api.webhooks.outcomes import DELAYS_S, JITTER, LONGEST_S, Outcome, after_answer, after_failure
from api.webhooks.permission import permission_of
from api.webhooks.rules import OFF, WebhookRefused, WebhookRules, rules_of
from api.webhooks.signature import secret_bytes, signed
from search.errors import UsageError
from search.storing.due_webhooks import DueWebhook, DueWebhooks
from search.storing.server_jobs import Owner, ServerJob, ServerJobs
from search.storing.store import Store
from tests.receiver import receiving, status

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
HERE, BESIDE = Owner("here", "1-a", 60.0), Owner("here", "2-b", 60.0)
ELSEWHERE, HASTY = Owner("elsewhere", "1-c", 60.0), Owner("elsewhere", "9-z", -1.0)
DOCS = Path(__file__).parent.parent / "docs" / "webhooks.md"
PUBLIC = "93.184.215.14"


def ended(store: Store, webhook: str | None = "https://hooks.example/a", **request: object) -> ServerJob:
    """Return a job that has ended."""
    jobs = ServerJobs(store.database)
    return jobs.cancel(jobs.create("dedup", "default", request, webhook).id)


# -- whom


@pytest.mark.parametrize(
    "address",
    ["https://hooks.example/a?b=c", "https://hooks.example:443", f"https://{PUBLIC}/", "https://[2606:2800:21f::1]/"],
)
def test_public_means_https_addresses_that_may_be_such_that_everybody_reaches(address: str) -> None:
    assert rules_of(["public"]).receiver(address).everybody


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("http://hooks.example/a", "scheme is 'http' and its port 80"),
        ("https://hooks.example:8443/a", "port 8443"),
        ("ftp://hooks.example/a", "scheme is 'ftp'"),
        ("https://127.0.0.1/a", "not everybody can reach 127.0.0.1"),
        ("https://[::ffff:10.0.0.1]/a", "not everybody can reach"),
        ("https://169.254.169.254/latest/meta-data/", "not everybody can reach"),
        ("https://2130706433/", "as a number"),
        ("https://user:word@hooks.example/a", "name or password"),
        ("https://hooks.example\\@127.0.0.1/", "letters"),
        ("https:///a", "no host"),
        ("https://hooks.example:99999/", "no URL"),
        ("https://" + "a" * 2050, "more than 2048 letters"),
        ("hooks.example", "no host"),
    ],
)
def test_an_address_that_is_not_called_is_refused_with_the_reason(address: str, why: str) -> None:
    with pytest.raises(WebhookRefused, match=re.escape(why)):
        rules_of(["public"]).receiver(address)
    with pytest.raises(WebhookRefused, match="ask its owner to allow it with serve --allow-webhook"):
        WebhookRules().receiver(address)


def test_what_the_owner_names_may_be_private_and_nothing_beside_it() -> None:
    rules = rules_of(["http://hooks.internal:8080/jobs", "http://10.1.2.3/"])
    for allowed in ("http://HOOKS.internal:8080/jobs", "http://hooks.internal:8080/jobs/a?x=1", "http://10.1.2.3/any"):
        assert not rules.receiver(allowed).everybody
    for refused in (
        "http://hooks.internal:8080/jobsters",
        "http://hooks.internal:8080/",
        "http://hooks.internal:8080/jobs/../admin",
        "http://hooks.internal:8080/jobs/%2e%2e/admin",
        "http://hooks.internal:8080/jobs/..%2fadmin",
        "http://hooks.internal:8080/jobs/%252e%252e/admin",
        "http://hooks.internal:8080/jobs/..;/admin",
        "http://hooks.internal/jobs",
        "https://hooks.internal:8080/jobs",
        "http://hooks.internal.example:8080/jobs",
        "http://hooks.internal:80801/jobs",
        "https://hooks.example/a",
    ):
        with pytest.raises(WebhookRefused):
            rules.receiver(refused)


@pytest.mark.parametrize(
    "text", ["", "hooks.internal", "ftp://hooks.internal/", "http://a@hooks.internal/", "http://h/?a"]
)
def test_a_rule_that_names_nothing_is_refused_when_the_server_starts(text: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="how addresses begin, such as"):
        permission_of([text], tmp_path / "secret")


def test_nobody_is_called_without_a_secret(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    assert not permission_of([], None).rules.allow_any
    with pytest.raises(UsageError, match=r"needs --webhook-secret-file FILE .*openssl rand -base64 32"):
        permission_of(["public"], None)
    with pytest.raises(UsageError, match="cannot read the secret"):
        permission_of(["public"], file)
    for wrong in (
        "",
        "secret",
        "whsec_",
        "whsec_c2hvcnQ=",
        SECRET.removeprefix("whsec_"),
        SECRET + "!",
        f"{SECRET}\nx",
    ):
        file.write_text(wrong)
        with pytest.raises(UsageError, match="openssl rand") as refused:
            permission_of(["public"], file)
        assert SECRET not in str(refused.value)
    file.write_text(f"{SECRET}\n\n{SECRET}\n")
    assert permission_of(["public"], file).keys == (secret_bytes(SECRET),) * 2


# -- signatures


def test_a_signature_is_that_of_the_specification() -> None:
    """The example that the libraries of Standard Webhooks share."""
    headers = signed([secret_bytes(SECRET)], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_receiver_knows_the_event_by_any_of_the_secrets_and_nothing_else(store: Store) -> None:
    job = ended(store)
    body, now = body_of(job), 1_700_000_000
    old = "whsec_" + base64.b64encode(b"another secret of 32 random byte").decode()
    keys = [secret_bytes(old), secret_bytes(SECRET)]
    headers = {name.title(): text for name, text in signed(keys, id_of(job), now, body).items()}
    for secret in (old, SECRET):
        event = verify_webhook(body, headers, secret, now=now + 299)
        assert (event.type, event.id, event.state, event.truncated) == (
            "job.cancelled",
            str(job.id),
            "cancelled",
            False,
        )
    other = "whsec_" + base64.b64encode(b"a third secret of 32 random byte").decode()
    wrong: list[tuple[bytes, dict[str, str], str, float]] = [
        (body, headers, other, now),
        (body + b" ", headers, SECRET, now),
        (body, headers, SECRET, now + 301),
        (body, headers, SECRET, now - 301),
        (body, headers | {"Webhook-Timestamp": str(now + 1)}, SECRET, now),
        (body, headers | {"Webhook-Timestamp": "now"}, SECRET, now),
        (body, headers | {"Webhook-Id": "job_1_1"}, SECRET, now),
        (body, headers | {"Webhook-Signature": "v2,AAAA é"}, SECRET, now),
        (body, headers | {"Webhook-Signature": ""}, SECRET, now),
        (b"{}", signed(keys, "x", now, b"{}"), SECRET, now),
    ]
    for data, given, secret, at in wrong:
        with pytest.raises(WebhookNotVerified):
            verify_webhook(data, given, secret, now=at)


def test_an_event_that_is_too_long_leaves_out_what_the_job_itself_tells(store: Store) -> None:
    job = ended(store, sources=["a" * 1000] * 300)
    event = json.loads(body_of(job))
    assert (event["truncated"], event["request"], event["id"]) == (True, {}, str(job.id))
    long = json.loads(body_of(replace(job, result={"rejected": ["b" * 1000] * 300})))
    assert (long["truncated"], long["request"], long["result"]) == (True, {}, None)
    whole = json.loads(body_of(replace(job, request={}, result={"groups": 3})))
    assert (whole["truncated"], whole["result"], whole["timestamp"]) == (False, {"groups": 3}, whole["ended_at"])
    assert len(body_of(job)) < MOST_BYTES


# -- what answers mean


@pytest.mark.parametrize("code", [200, 201, 204, 299])
def test_an_answer_of_the_kind_2xx_is_the_end(code: int) -> None:
    assert after_answer(Called(code, None), 1) == Outcome("delivered")


def test_410_is_the_end_and_everything_else_is_tried_again_later_and_later_and_not_for_ever() -> None:
    assert after_answer(Called(410, None), 1).state == "failed"
    for code in (301, 302, 400, 401, 404, 429, 500, 503):
        again = after_answer(Called(code, None), 1)
        assert (again.state, f"answered {code}" in str(again.why)) == ("due", True)
    for attempt, delay in enumerate(DELAYS_S, 1):
        wait = after_failure("broken", attempt).again_s
        assert wait is not None
        assert delay <= wait <= delay * (1 + JITTER)
    assert list(DELAYS_S) == sorted(DELAYS_S)
    assert after_failure("broken", len(DELAYS_S) + 1).state == "failed"
    assert after_answer(Called(503, 100.0), 1).again_s == 100.0
    assert after_answer(Called(503, 1e9), 1).again_s == LONGEST_S


def test_many_of_one_receiver_keep_no_other_waiting() -> None:
    slow = [DueWebhook(number, "https://slow.example/a") for number in range(50)]
    others = [DueWebhook(100 + number, f"https://{number}.example/a") for number in range(50)]
    chosen = [one.job_id for one in fair(slow + others)]
    assert chosen == [0, 1, *range(100, 106)]
    assert len(chosen) == AT_ONCE


# -- who tells


def test_an_end_is_told_by_one_server_at_a_time_and_taken_over_from_one_that_died(store: Store) -> None:
    due, job = DueWebhooks(store.database), ended(store)
    ended(store, webhook=None)
    waiting = ServerJobs(store.database).create("dedup", "default", {}, "https://hooks.example/a")
    assert [one.job_id for one in due.due(HERE)] == [job.id]
    for attempts, (owner, taken) in enumerate(((HERE, True), (ELSEWHERE, False), (BESIDE, True)), 1):
        found = due.take(job.id, owner)
        assert (found is not None) is taken, owner
        assert found is None or found.webhook_attempts == min(attempts, 2)
    assert due.due(ELSEWHERE) == []
    assert not due.settle(job.id, HERE, {"state": "delivered", "problem": None}, None), "it is another's now"
    assert due.settle(job.id, BESIDE, {"state": "due", "problem": None}, -1.0)
    assert due.take(job.id, HASTY) is not None, "due again"
    assert due.take(job.id, ELSEWHERE) is not None, "the lease has ended"
    due.release(job.id, ELSEWHERE)
    assert due.take(job.id, HERE) is not None
    before = ServerJobs(store.database).get(job.id).version
    assert due.settle(job.id, HERE, {"state": "delivered", "problem": None}, None)
    told = ServerJobs(store.database).get(job.id)
    assert (told.webhook_due, told.webhook_attempts, told.version) == (None, 5, before + 1)
    assert (due.due(HERE), due.waiting(), waiting.webhook_due) == ([], 0, None)


def test_a_job_whose_end_is_still_to_be_told_is_not_forgotten_unless_nobody_tells_any_more(store: Store) -> None:
    job, jobs, due = ended(store), ServerJobs(store.database), DueWebhooks(store.database)
    due.take(job.id, HERE)
    due.settle(job.id, HERE, {"state": "due", "problem": None}, 7_200.0)
    assert jobs.forget_old(-3_600.0) == 0
    assert jobs.forget_old(-10_800.0) == 1


# -- the call itself


def called(
    address: str, answers: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch, *rules: str
) -> tuple[str, list[str]]:
    """Call an address with names that lead where answers say, nothing being dialled; why it failed, and what was."""
    dialled: list[str] = []

    async def dial(_loop: Any, _socket: Any, place: Any) -> None:
        dialled.append(place[0])
        raise ConnectionRefusedError(111, "Connection refused")

    async def resolve(host: str, _port: int) -> Sequence[str]:
        if host not in answers:
            raise OSError("no such host")
        return [answers[host].pop(0)] if len(answers[host]) > 1 else answers[host]

    monkeypatch.setattr(BaseSelectorEventLoop, "sock_connect", dial)
    with pytest.raises(CallFailed) as failed:
        asyncio.run(call(rules_of(rules or ["public"]).receiver(address), {}, b"{}", resolve))
    return str(failed.value), dialled


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "100.64.0.1", "::1", "fd00::1", "2002:7f00::"]
)
def test_a_name_that_leads_into_a_private_network_is_not_dialled_and_looks_like_one_that_nobody_knows(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    private = called("https://inside.example/", {"inside.example": [address]}, monkeypatch)
    assert private == called("https://nobody.example/", {}, monkeypatch)
    assert private == ("its host has no address that may be called", [])


def test_what_was_looked_at_is_what_is_dialled(monkeypatch: pytest.MonkeyPatch) -> None:
    why, dialled = called("https://twice.example/", {"twice.example": [PUBLIC, "127.0.0.1"]}, monkeypatch)
    assert (why, dialled) == ("nobody answers there: Connection refused", [PUBLIC])
    named = called("http://inside.example/", {"inside.example": ["10.0.0.1"]}, monkeypatch, "http://inside.example/")
    assert named[1] == ["10.0.0.1"]


def test_a_host_that_is_long_looked_for_is_given_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async def for_ever(_host: str, _port: int) -> Sequence[str]:
        await asyncio.Event().wait()
        return []

    monkeypatch.setattr("api.webhooks.calling.TOTAL_S", 0.05)
    with pytest.raises(CallFailed, match="no answer came within"):
        asyncio.run(call(rules_of(["public"]).receiver("https://slow.example/"), {}, b"{}", for_ever))


def test_a_redirect_is_not_followed() -> None:
    with receiving() as receiver:
        receiver.answers["/a"] = [status(307, Location=f"{receiver.url}/elsewhere")]
        rules = rules_of([receiver.url])
        answer = asyncio.run(call(rules.receiver(f"{receiver.url}/a"), {"x": "y"}, b"{}", no_names))
        assert (answer.status, [one.path for one in receiver.all()]) == (307, ["/a"])


async def no_names(host: str, _port: int) -> Sequence[str]:
    raise OSError(f"{host} is not known")


def test_a_server_that_no_longer_allows_an_address_tells_nobody_and_says_so(store: Store) -> None:
    with receiving() as receiver:
        job = ended(store, f"{receiver.url}/a")
        with Deliveries(store.root, store.database, rules_of(["public"]), [b"k" * 32]) as deliveries:
            jobs = ServerJobs(store.database)
            while (now := jobs.get(job.id)).webhook_outcome is None or deliveries.waiting != 1:
                time.sleep(0.05)
            assert (now.webhook_outcome["state"], now.webhook_attempts, len(deliveries.told)) == ("due", 1, 1)
            assert "scheme is 'http'" in now.webhook_outcome["problem"]["detail"]
        assert receiver.all() == []
    assert OFF not in str(now.webhook_outcome)


def test_a_server_that_ends_while_it_tells_gives_that_back(store: Store) -> None:
    with receiving() as receiver, create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        stuck, told = ended(store, address), ended(store, f"{receiver.url}/a")
        jobs = ServerJobs(store.database)
        with Deliveries(store.root, store.database, rules_of([receiver.url, address]), [b"k" * 32]):
            receiver.next()
            while jobs.get(told.id).webhook_outcome is None or jobs.get(stuck.id).webhook_attempts == 0:
                time.sleep(0.05)
            assert DueWebhooks(store.database).due(ELSEWHERE) == []
        assert [one.job_id for one in DueWebhooks(store.database).due(ELSEWHERE)] == [stuck.id]
        assert jobs.get(told.id).webhook_outcome == {"state": "delivered", "problem": None}


# -- the documentation


def test_the_receiver_of_the_documentation_knows_what_we_sign_and_refuses_the_rest(
    tmp_path: Path, store: Store
) -> None:
    (code,) = re.findall(r"```python\n(import base64.*?)```", DOCS.read_text(), re.S)
    with create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert "9000" in code
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    job = ended(store)
    body = body_of(job)
    with subprocess.Popen(
        [sys.executable, "-u", "-c", code.replace("9000", str(port))], cwd=tmp_path, stdout=subprocess.PIPE, text=True,
        stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        try:
            while True:
                try:
                    create_connection(("127.0.0.1", port)).close()
                    break
                except ConnectionRefusedError:
                    time.sleep(0.05)
            answers = []
            for key in (secret_bytes(SECRET), b"k" * 32):
                headers = signed([key], id_of(job), int(time.time()), body)
                try:
                    with urlopen(Request(f"http://127.0.0.1:{port}/", body, headers)) as answer:
                        answers.append(answer.status)
                except OSError as error:
                    answers.append(getattr(error, "code", None))
            assert answers == [204, 401]
            assert process.stdout is not None
            assert process.stdout.readline().split()[:2] == ["job.cancelled", str(job.id)]
        finally:
            process.kill()
