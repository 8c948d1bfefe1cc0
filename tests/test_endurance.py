"""Long tests lose nothing of what they found, however often they are stopped."""

from collections.abc import Iterator

import pytest

from tests.endurance import endure

NAME = "sevens"


def sevens(seeds: range) -> list[str]:
    return [f"seed {seed}" for seed in seeds if seed % 7 == 0]


@pytest.fixture(autouse=True)
def fresh(pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No variable of the person who runs the tests, and no progress before or after."""
    for name in ("SOAK_SCALE", "SOAK_SECONDS", "SOAK_SEED", "SOAK_PROCESSES"):
        monkeypatch.delenv(name, raising=False)
    pytestconfig.cache.set(f"soak/{NAME}", None)
    yield
    pytestconfig.cache.set(f"soak/{NAME}", None)


def test_a_long_test_goes_on_where_it_was_stopped(pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[int] = []
    monkeypatch.setattr("tests.endurance._tell", lambda _config, _name, progress, *_: told.append(progress["done"]))
    with monkeypatch.context() as patch:
        patch.setenv("SOAK_SEED", "100")
        patch.setenv("SOAK_SECONDS", "0")
        patch.setenv("SOAK_PROCESSES", "1")
        assert endure(pytestconfig, NAME, 300, sevens, piece=10) == ["seed 105"]
    monkeypatch.setenv("SOAK_SCALE", ".1")
    assert endure(pytestconfig, NAME, 300, sevens, piece=10) == ["seed 105", "seed 112", "seed 119", "seed 126"]
    assert told[-1] == 30
    monkeypatch.setenv("SOAK_SEED", "700")
    assert endure(pytestconfig, NAME, 100, sevens, piece=10) == ["seed 700", "seed 707"]
