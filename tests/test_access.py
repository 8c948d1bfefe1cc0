"""Who may do what over HTTP: every route, every role, every kind of key."""

import asyncio
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from httpx2 import Response
from starlette.testclient import TestClient

from api.http.access import Gate, OpenGate
from api.http.app import Parts, create_app
from api.http.key_gate import AuthMode, Guard, KeyGate, auth_mode, gate_of
from api.http.page_files import ADDRESSES, PAGE
from api.http.readiness import Readiness
from api.http.thumbnails import Thumbnails
from api.workspace import Workspace
from indexer.backbones.backbones import BUILTIN_PREPARATION
from indexer.decoding.decoder_pool import DecoderPool
from search.errors import GuardRefused, StoreUnavailable, UsageError
from search.storing.api_keys import ROLES, ApiKey, ApiKeys, Role
from search.storing.store import Store
from tests.fakes import FakeBackbone

# What each route needs: a route that is not here fails the test below, and so does one that says something else.
IN = "/v1/collections/{collection}"
NEEDS = {
    "GET /healthz": "nothing",
    f"POST {IN}/check": "read",
    f"GET {IN}/verdicts": "read",
    f"POST {IN}/verdicts": "dedup",
    f"DELETE {IN}/verdicts/{{first}}/{{second}}": "dedup",
    "GET /readyz": "nothing",
    "GET /metrics": "read of all",
    "GET /v1/collections": "read",
    "GET /v1/key": "read",
    f"GET {IN}": "read",
    f"PUT {IN}": "admin",
    f"GET {IN}/facets": "read",
    f"GET {IN}/failures": "read",
    f"GET {IN}/map": "read",
    f"GET {IN}/status": "read",
    f"GET {IN}/timeline": "read",
    f"GET {IN}/images": "read",
    f"GET {IN}/images/by-key/{{key}}": "read",
    f"PUT {IN}/images/by-key/{{key}}": "write",
    f"POST {IN}/images": "write",
    f"GET {IN}/images/{{image_id}}": "read",
    f"PATCH {IN}/images/{{image_id}}": "write",
    f"DELETE {IN}/images/{{image_id}}": "write",
    f"GET {IN}/images/{{image_id}}/thumbnail": "read",
    f"POST {IN}/images/{{image_id}}/explain": "read",
    f"GET {IN}/images/{{image_id}}/difference": "read",
    f"GET {IN}/labels": "read",
    f"POST {IN}/search": "read",
    f"POST {IN}/batch-search": "read",
    f"GET {IN}/fields": "read",
    "POST /v1/classify": "read",
    f"GET {IN}/groups": "read",
    f"GET {IN}/dedup": "read",
    f"POST {IN}/dedup": "dedup",
    f"POST {IN}/imports": "write",
    f"GET {IN}/plans": "read",
    f"GET {IN}/plans/{{plan_id}}": "read",
    f"GET {IN}/plans/{{plan_id}}/preview": "read",
    f"POST {IN}/plans/{{plan_id}}/apply": "dedup",
    f"POST {IN}/plans/{{plan_id}}/undo": "dedup",
    f"POST {IN}/plans/{{plan_id}}/purge": "dedup",
    "GET /v1/jobs": "read",
    "GET /v1/jobs/{job_id}": "read",
    "GET /v1/jobs/{job_id}/events": "read",
    "POST /v1/jobs/{job_id}/cancel": "write",
    "POST /v1/jobs/{job_id}/webhook": "write",
}
ADMIN_KEY = "an admin key of a file, 0123456789abcdef".replace(" ", "-")


Made = dict[tuple[Role, str | None], tuple[ApiKey, str]]


@dataclass(frozen=True)
class Keyed:
    """An application that asks for keys, its keys, and one of every kind: by role, and the collection it is for."""

    app: FastAPI
    client: TestClient
    keys: ApiKeys
    made: Made


def application(store: Path, gate: Gate, workspace: Workspace) -> FastAPI:
    pool = DecoderPool(BUILTIN_PREPARATION, children=1)
    return create_app(Parts(workspace, Thumbnails(pool), Readiness(workspace), ("testserver",), gate=gate))


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keyed]:
    root = tmp_path_factory.mktemp("keyed") / "store"
    with Store.create(root) as store:
        for name in ("own", "other"):
            store.open_collection(name, FakeBackbone().space)
    with Workspace(root) as workspace:
        keys = ApiKeys(workspace.store.database)
        own = workspace.collection("own")
        made: Made = {(role, None): keys.create(role) for role in ROLES}
        for role in ROLES:
            made[role, "own"] = keys.create(role, only=own)
        app = application(root, KeyGate(keys, None, always=False), workspace)
        yield Keyed(app, TestClient(app, raise_server_exceptions=False), keys, made)


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def operations(app: FastAPI) -> list[str]:
    paths = app.openapi()["paths"]
    return [f"{method.upper()} {path}" for path, methods in paths.items() for method in methods]


def ask(client: TestClient, operation: str, collection: str, headers: dict[str, str]) -> Response:
    method, path = operation.split(" ")
    values = {"image_id": "999999", "job_id": "999999", "plan_id": "20260101-00000000", "key": "nothing"}
    filled = path.format(collection=collection, first="a" * 64, second="b" * 64, **values)
    return client.request(method, filled, headers=headers)


def test_every_route_says_which_role_it_needs_and_this_test_knows_it(keyed: Keyed) -> None:
    assert sorted(operations(keyed.app)) == sorted(NEEDS)


@pytest.mark.parametrize("operation", NEEDS)
def test_every_route_is_for_its_role_and_collection_and_for_nobody_else(keyed: Keyed, operation: str) -> None:
    role = NEEDS[operation].split()[0]
    for (has, only), (_, secret) in keyed.made.items():
        for collection in ("own", "other", "nowhere"):
            status = ask(keyed.client, operation, collection, bearer(secret)).status_code
            enough = role == "nothing" or ROLES.index(has) >= ROLES.index(role)
            inside = only is None or role == "nothing" or ("{collection}" not in operation or collection == only)
            inside = inside and not (only is not None and NEEDS[operation].endswith("of all"))
            where = f"{operation} in {collection} with {has} for {only}"
            assert (status == 403) is not (enough and inside), where
            assert status != 401, where


@pytest.mark.parametrize("operation", NEEDS)
def test_no_route_but_the_open_ones_answers_without_a_key(keyed: Keyed, operation: str) -> None:
    for headers in ({}, bearer("lk_" + "a" * 43), bearer(""), {"Authorization": "Basic bGs6"}):
        answer = ask(keyed.client, operation, "own", headers)
        assert (answer.status_code == 401) is (NEEDS[operation] != "nothing")


def test_a_missing_key_and_a_wrong_one_are_problems_that_say_what_to_send(keyed: Keyed) -> None:
    without = keyed.client.get("/v1/collections")
    assert without.headers["content-type"] == "application/problem+json"
    assert without.headers["www-authenticate"] == 'Bearer realm="lookalike"'
    assert "`Authorization: Bearer lk_...`" in without.json()["detail"]
    wrong = keyed.client.get("/v1/collections", headers=bearer("lk_wrong"))
    assert wrong.headers["www-authenticate"] == 'Bearer realm="lookalike", error="invalid_token"'
    assert (wrong.json()["type"], "lk_wrong" in wrong.text) == ("urn:lookalike:problem:KeyNeeded", False)


def test_a_role_that_is_too_low_is_told_the_one_it_needs(keyed: Keyed) -> None:
    answer = keyed.client.delete("/v1/collections/own/images/1", headers=bearer(keyed.made["read", None][1]))
    assert (answer.status_code, answer.headers["content-type"]) == (403, "application/problem+json")
    assert answer.json()["detail"] == "this needs a key of role write or a higher one; yours has read"
    assert answer.headers["www-authenticate"].endswith('error="insufficient_scope", scope="write"')


def test_a_key_for_one_collection_does_not_learn_of_others(keyed: Keyed) -> None:
    mine = bearer(keyed.made["admin", "own"][1])
    details = {keyed.client.get(f"/v1/collections/{name}", headers=mine).json()["detail"] for name in ("other", "nix")}
    assert details == {"this needs a key of role read for this collection; yours is for own only"}
    listed = keyed.client.get("/v1/collections", headers=mine).json()["items"]
    assert [one["name"] for one in listed] == ["own"]
    all_of_them = keyed.client.get("/v1/collections", headers=bearer(keyed.made["read", None][1])).json()["items"]
    assert {one["name"] for one in all_of_them} - {"nowhere"} == {"own", "other"}  # which other tests may begin


def test_a_handler_that_declares_nothing_is_for_nobody(keyed: Keyed) -> None:
    with Workspace(Path(keyed.keys._database.engine.url.database or "").parent) as workspace:
        for gate in (KeyGate(keyed.keys, None, always=True), OpenGate()):
            app = application(Path(), gate, workspace)
            app.add_api_route("/v1/forgotten", lambda: "a secret")
            client = TestClient(app)
            answer = client.get("/v1/forgotten", headers=bearer(keyed.made["admin", None][1]))
            assert (answer.status_code, "is for nobody" in answer.json()["detail"]) == (403, True)
            assert client.get("/v1/forgotten").status_code == (401 if isinstance(gate, KeyGate) else 403)


def test_the_page_and_the_description_for_programs_are_open_and_nothing_near_them(keyed: Keyed) -> None:
    for path in ("/openapi.json", *(ADDRESSES.get(name, f"/page/{name}") for name in PAGE)):
        assert keyed.client.get(path).status_code == 200
    for path in ("/page/", "/page/x.js", "/page/../v1/collections", "/v1", "/v1/nothing", "/docs/x", "/metrics/"):
        assert keyed.client.get(path).status_code == 401


def test_openapi_tells_generators_which_operations_take_a_key(keyed: Keyed) -> None:
    document = keyed.app.openapi()
    assert document["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    for operation, role in NEEDS.items():
        method, path = operation.split(" ")
        described = document["paths"][path][method.lower()]
        assert ("security" in described) is (role != "nothing"), operation


@pytest.mark.parametrize(("scheme", "status"), [("Bearer", 200), ("bearer", 200), ("BEARER", 200), ("Token", 401)])
def test_the_word_before_the_key_may_be_written_in_any_case(keyed: Keyed, scheme: str, status: int) -> None:
    headers = {"Authorization": f"{scheme}  {keyed.made['read', None][1]} "}
    assert keyed.client.get("/v1/collections", headers=headers).status_code == status


def test_a_key_in_an_address_opens_nothing(keyed: Keyed) -> None:
    secret = keyed.made["admin", None][1]
    for name in ("key", "api_key", "access_token", "authorization"):
        assert keyed.client.get("/v1/collections", params={name: secret}).status_code == 401
    assert keyed.client.get("/v1/collections", headers={"Cookie": f"key={secret}"}).status_code == 401


def test_a_key_opens_nothing_from_the_moment_it_is_revoked_or_expires(keyed: Keyed) -> None:
    made, secret = keyed.keys.create("read")
    _, short = keyed.keys.create("read", expires_at=time.time() - 1)
    assert keyed.client.get("/v1/collections", headers=bearer(secret)).status_code == 200
    keyed.keys.revoke(str(made.id))
    answers = [keyed.client.get("/v1/collections", headers=bearer(one)) for one in (secret, short)]
    assert [answer.status_code for answer in answers] == [401, 401]
    assert ["revoked" in answers[0].json()["detail"], "expired" in answers[1].json()["detail"]] == [True, True]


def test_the_body_of_a_request_without_a_key_is_not_read(keyed: Keyed) -> None:
    read: list[int] = []
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        read.append(1)
        return {"type": "http.request", "body": b"x", "more_body": True}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "path": "/v1/collections/own/search",
        "raw_path": b"/v1/collections/own/search",
        "query_string": b"",
        "headers": [(b"host", b"testserver"), (b"content-type", b"multipart/form-data; boundary=x")],
    }
    asyncio.run(keyed.app(scope, receive, send))
    assert (sent[0]["status"], read) == (401, [])


# Which of these open the door: without a key before there is one, then afterwards.
@pytest.mark.parametrize(
    ("mode", "public", "before", "after"),
    [("auto", False, 200, 401), ("keys", False, 401, 401), ("none", False, 200, 200), ("none", True, 200, 200)],
)
def test_keys_are_asked_for_as_the_mode_says(
    local_store: Store, mode: AuthMode, public: bool, before: int, after: int
) -> None:
    local_store.open_collection("default", FakeBackbone().space)
    with Workspace(local_store.root) as workspace:
        keys = ApiKeys(local_store.database)
        client = TestClient(application(local_store.root, gate_of(keys, Guard(mode, public)), workspace))
        assert client.get("/v1/collections").status_code == before
        made, secret = keys.create("read")
        assert client.get("/v1/collections").status_code == after
        assert client.get("/v1/collections", headers=bearer(secret)).status_code == 200
        # Ending the last key opens the server to nobody.
        keys.revoke(str(made.id))
        assert client.get("/v1/collections").status_code == after
        again = TestClient(application(local_store.root, gate_of(keys, Guard(mode, public=False)), workspace))
        assert again.get("/v1/collections").status_code == after


def test_an_address_of_other_machines_needs_a_key_that_is_valid(local_store: Store) -> None:
    keys, guard = ApiKeys(local_store.database), Guard("auto", public=True)
    with pytest.raises(GuardRefused, match="no valid key yet.*--auth none"):
        gate_of(keys, guard)
    made, _ = keys.create("read")
    keys.create("read", expires_at=1.0)
    assert isinstance(gate_of(keys, guard), KeyGate)
    keys.revoke(str(made.id))
    with pytest.raises(GuardRefused):
        gate_of(keys, guard)


def test_the_key_of_a_file_may_do_everything_and_nothing_else_gets_in(local_store: Store, tmp_path: Path) -> None:
    file = tmp_path / "admin key"
    file.write_text(f"{ADMIN_KEY}\n")
    local_store.open_collection("default", FakeBackbone().space)
    with Workspace(local_store.root) as workspace:
        gate = gate_of(ApiKeys(local_store.database), Guard("auto", public=True, admin_key_file=file))
        client = TestClient(application(local_store.root, gate, workspace))
        assert client.get("/v1/collections").status_code == 401
        assert client.get("/v1/collections", headers=bearer(ADMIN_KEY[:-1])).status_code == 401
        delete = client.delete("/v1/collections/default/images/1", headers=bearer(ADMIN_KEY))
        assert (delete.status_code, client.get("/metrics", headers=bearer(ADMIN_KEY)).status_code) == (404, 200)


@pytest.mark.parametrize("text", ["", "short", "x" * 31, "x" * 513, f"{ADMIN_KEY}\n{ADMIN_KEY}", "schlüssel" * 5])
def test_a_file_without_a_good_key_is_refused_without_telling_what_it_holds(
    local_store: Store, tmp_path: Path, text: str
) -> None:
    file = tmp_path / "key"
    file.write_text(text)
    with pytest.raises(UsageError, match=re.escape(str(file))) as refused:
        gate_of(ApiKeys(local_store.database), Guard("keys", public=False, admin_key_file=file))
    assert not text or text not in str(refused.value)


def test_a_file_that_is_not_there_and_a_mode_that_is_none_are_said_so(local_store: Store, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read the admin key in"):
        gate_of(ApiKeys(local_store.database), Guard("auto", public=False, admin_key_file=tmp_path / "none"))
    with pytest.raises(UsageError, match="--auth 'maybe' is not one of auto, keys, none"):
        auth_mode("maybe")


def test_while_the_keys_cannot_be_read_nobody_gets_in(keyed: Keyed, monkeypatch: pytest.MonkeyPatch) -> None:
    def locked(*_: object, **__: object) -> None:
        raise StoreUnavailable("the catalogue does not answer")

    monkeypatch.setattr("search.storing.api_keys.ApiKeys.find", locked)
    monkeypatch.setattr("search.storing.api_keys.ApiKeys.any", locked)
    answer = keyed.client.get("/v1/collections", headers=bearer(keyed.made["admin", None][1]))
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:lookalike:problem:StoreUnavailable")
    assert keyed.client.get("/healthz").status_code == 200
