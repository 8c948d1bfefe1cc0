"""For the server that processes are forked from: each of them then knows the SQL that this one has made already."""

import tempfile
import threading
from pathlib import Path

import pytest

from search.upkeep.verification import verify
from tests.fault_worker import add, open_store, remove
from tests.quick_stores import be_quick


def warm() -> None:
    """Fill a store and look through it; without an index, whose threads a fork would not take along."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        # Of the test that happens to be the first.
        for name in ("LOOKALIKE_CATALOGUE", "LOOKALIKE_BLOBS", "LOOKALIKE_FAULT"):
            patch.delenv(name, raising=False)
        root = Path(folder)
        store, target = open_store(root)
        with store:
            add(root, store, target, ["a", "b"])
            remove(root, store, target, ["b"])
            verify(store)
    assert threading.active_count() == 1


be_quick()
warm()
