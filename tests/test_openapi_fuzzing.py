"""Whatever is sent to any operation of /openapi.json, the answer is one that it documents: right requests, wrong ones,
and walks from one to the next.
"""

import tempfile
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import requests
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from schemathesis.schemas import BaseSchema

from api.http.description import operation_id
from api.http.routes.v1 import include_all
from tests.endurance import endure
from tests.openapi_cases import LEFT_OUT, asked, described, fuzzed, machine, operation_of
from tests.small_server import SmallServer, small_server, small_store

EXAMPLES = 50  # of each operation
WALKS, STEPS = 12, 6
SOAK_EXAMPLES, PIECE = 2_000, 100


@cache
def names() -> list[str]:
    """Return the operations; those that take things away come last."""
    app = FastAPI(generate_unique_id_function=operation_id)
    include_all(app)
    methods = [(method, one) for path in app.openapi()["paths"].values() for method, one in path.items()]
    return [one["operationId"] for _, one in sorted(methods, key=lambda pair: pair[0] == "delete")]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallServer]:
    with small_server(small_store(tmp_path_factory.mktemp("small"))) as running:
        wait_for(running)
        yield running


@pytest.fixture(scope="module")
def schema(server: SmallServer) -> BaseSchema:
    return described(server)


def wait_for(server: SmallServer) -> None:
    while requests.get(f"{server.url}/readyz", timeout=10).status_code != 200:
        time.sleep(0.1)


@pytest.mark.parametrize("name", [name for name in names() if name not in LEFT_OUT])
def test_an_operation_answers_as_it_says(server: SmallServer, schema: BaseSchema, name: str) -> None:
    (operation,) = (one for one in asked(schema) if operation_of(one) == name)
    with requests.Session() as session:
        assert fuzzed(operation, session, EXAMPLES, None) == []


def test_what_is_left_out_is_there_and_says_why() -> None:
    assert set(LEFT_OUT) <= set(names())
    assert all(LEFT_OUT.values())


def test_walks_along_the_links_meet_nothing_unexpected(schema: BaseSchema) -> None:
    run_state_machine_as_test(
        machine(schema),
        settings=settings(
            max_examples=WALKS,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate],
        ),
    )


def soak(seeds: range) -> list[str]:
    """Ask every operation as often as there are seeds."""
    with tempfile.TemporaryDirectory() as folder, small_server(small_store(Path(folder))) as server:
        wait_for(server)
        with requests.Session() as session:
            found = [fuzzed(one, session, len(seeds), seeds.start) for one in asked(described(server))]
    return [f"seed {seeds.start}: {one}" for wrong in found for one in wrong]


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_thousands_of_requests_to_each_operation_meet_nothing_unexpected(pytestconfig: pytest.Config) -> None:
    assert endure(pytestconfig, "OpenAPI", SOAK_EXAMPLES, soak, PIECE) == []
