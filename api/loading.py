"""Loading of what stays: modules, which make half a million objects and no garbage."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def for_good() -> Iterator[None]:
    """Look for no garbage meanwhile, nor ever again among what is there at the end.

    Otherwise Python looks through all of it again and again while modules are loaded: a fifth of the time until a
    server has started. And then in each full collection, while requests wait.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
