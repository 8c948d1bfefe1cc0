"""What is loaded for good is not looked through again for garbage."""

import gc

import pytest

from api.loading import for_good


def test_no_garbage_is_looked_for_while_loading_and_what_was_loaded_is_left_out_later() -> None:
    before = gc.get_freeze_count()
    with for_good():
        assert not gc.isenabled()
        loaded = [[number] for number in range(1000)]
    assert gc.isenabled()
    assert gc.get_freeze_count() >= before + len(loaded)


def test_garbage_is_looked_for_again_where_loading_fails() -> None:
    with pytest.raises(ImportError), for_good():
        raise ImportError
    assert gc.isenabled()
