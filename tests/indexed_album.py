"""A collection of the Python API for the tests of a module, with a cache of its own."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import lookalike
from tests.conftest import own_cache


@contextmanager
def indexed_album(folder: Path, places: pytest.TempPathFactory) -> Iterator[lookalike.Lookalike]:
    """Index a folder with the built-in backbone, and open what came of it."""
    with pytest.MonkeyPatch.context() as patch, lookalike.open(places.mktemp("album") / "store") as opened:
        patch.setenv("LOOKALIKE_CACHE", own_cache(places.mktemp("cache")))
        opened.index(folder, progress=False)
        yield opened
