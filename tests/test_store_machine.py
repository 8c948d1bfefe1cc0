"""A store against a dictionary: whatever is done to it in whatever order, a search answers as brute force would.

Steps that fail at a fault point, and readers that stay open all the time, are part of it; so are backups that are
restored, and swaps to another space (tests/store_machine.py).
"""

import os
import traceback
from functools import partial

import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.conftest import dropped, new_database
from tests.endurance import endure
from tests.store_machine import ApproximateMachine, StoreMachine, TransformingMachine

PIECE = 10


ORDINARY = settings(
    max_examples=25,
    stateful_step_count=25,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


def test_a_store_answers_like_a_dictionary_whatever_is_done_to_it() -> None:
    run_state_machine_as_test(StoreMachine, settings=ORDINARY)


def test_a_store_whose_index_transforms_embeddings_does_so_too() -> None:
    run_state_machine_as_test(TransformingMachine, settings=settings(ORDINARY, max_examples=5))


def test_a_store_with_an_approximate_index_does_so_too() -> None:
    run_state_machine_as_test(ApproximateMachine, settings=settings(ORDINARY, max_examples=10))


@pytest.mark.usefixtures("on_postgresql")
def test_a_store_on_postgresql_does_so_too() -> None:
    run_state_machine_as_test(StoreMachine, settings=settings(ORDINARY, max_examples=5))


def long_examples(server: str | None, seeds: range) -> list[str]:
    """Run an example of 50 steps for each seed, on SQLite or in a database of its own; return why it failed.

    A third of the pieces has approximate indexes, and one has transforms.
    """
    kind = (StoreMachine, ApproximateMachine, TransformingMachine)[seeds.start // PIECE % 3]
    catalogue = None if server is None else new_database(server)
    if catalogue is not None:
        os.environ["LOOKALIKE_CATALOGUE"] = catalogue
    long = settings(
        ORDINARY,
        max_examples=len(seeds),
        stateful_step_count=50,
        derandomize=False,
        print_blob=True,
        report_multiple_bugs=False,
    )
    try:
        run_state_machine_as_test(seed(seeds.start)(type("SeededMachine", (kind,), {})), settings=long)
    except Exception as error:  # noqa: BLE001 -- whatever it was, the next examples are to be run
        return [f"seed {seeds.start}: {''.join(traceback.format_exception(error))}"]
    finally:
        if catalogue is not None:
            dropped(catalogue)
    return []


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_a_store_answers_like_a_dictionary_for_a_long_time(pytestconfig: pytest.Config) -> None:
    assert endure(pytestconfig, "state machine", 2_000, partial(long_examples, None), piece=PIECE) == []


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_a_store_on_postgresql_does_so_too_for_a_long_time(postgresql: str, pytestconfig: pytest.Config) -> None:
    run = partial(long_examples, postgresql)
    assert endure(pytestconfig, "state machine on PostgreSQL", 400, run, piece=PIECE) == []
