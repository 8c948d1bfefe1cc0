"""Promise P3: losing any part of what was not synced loses nothing that was acknowledged."""

from functools import partial
from pathlib import Path

import pytest

from tests.endurance import endure
from tests.power_loss import recorded, violations_after_cuts, violations_after_power_loss

STATES = 200
SOAK_STATES = 20_000


def test_a_power_cut_at_any_moment_loses_nothing_acknowledged(quick_folder: Path) -> None:
    assert violations_after_power_loss(quick_folder, STATES) == []


@pytest.mark.usefixtures("on_postgresql")
def test_blobs_are_there_for_whatever_postgresql_has_committed(quick_folder: Path) -> None:
    recorder = recorded(quick_folder)
    assert violations_after_cuts(recorder, quick_folder, range(STATES // 10)) == []


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_twenty_thousand_power_cuts_lose_nothing_acknowledged(quick_folder: Path, pytestconfig: pytest.Config) -> None:
    cuts = partial(violations_after_cuts, recorded(quick_folder), quick_folder)
    assert endure(pytestconfig, "power cuts", SOAK_STATES, cuts, piece=100) == []


@pytest.mark.slow
@pytest.mark.timeout(0)
@pytest.mark.usefixtures("on_postgresql")
def test_thousands_of_power_cuts_on_postgresql_lose_nothing_acknowledged(
    quick_folder: Path, pytestconfig: pytest.Config
) -> None:
    cuts = partial(violations_after_cuts, recorded(quick_folder), quick_folder)
    assert endure(pytestconfig, "power cuts on PostgreSQL", SOAK_STATES // 10, cuts, piece=50) == []
