"""Promise P3: losing any part of what was not synced loses nothing that was acknowledged."""

from pathlib import Path

import pytest

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
@pytest.mark.timeout(4 * 3600)
def test_twenty_thousand_power_cuts_lose_nothing_acknowledged(quick_folder: Path) -> None:
    assert violations_after_power_loss(quick_folder, SOAK_STATES) == []
