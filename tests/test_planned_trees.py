"""Promise P24: whatever happens to files, disks and processes, no content is lost, and undo restores everything."""

from functools import partial
from pathlib import Path

import pytest

from tests.endurance import endure
from tests.planned_trees import violations

TREES, PIECE = 300, 50
SOAK_TREES = 2_000


@pytest.mark.parametrize("first", range(0, TREES, PIECE))
def test_no_content_is_lost_in_hundreds_of_random_trees(quick_folder: Path, empty_store: Path, first: int) -> None:
    assert violations(empty_store, quick_folder, range(first, first + PIECE)) == []


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_no_content_is_lost_in_thousands_of_random_trees(
    quick_folder: Path, empty_store: Path, pytestconfig: pytest.Config
) -> None:
    trees = partial(violations, empty_store, quick_folder)
    assert endure(pytestconfig, "planned trees", SOAK_TREES, trees, piece=PIECE) == []
