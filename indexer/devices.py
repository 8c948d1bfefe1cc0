"""Which device to embed on, and how many cores there are.

Must not import torch where there can be no GPU: that takes a second.
"""

import ctypes
import os

from search.errors import UsageError

CPU = "cpu"
CORES_VARIABLE = "LOOKALIKE_CORES"


def choose_device(wanted: str) -> str:
    """Return the device for `auto`, `cpu`, `cuda` or `cuda:N`; auto takes a GPU when there is one.

    Raises:
        UsageError: there is no such device.
    """
    if wanted == CPU or (wanted == "auto" and not _has_nvidia_driver()):
        return CPU
    import torch

    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else CPU
    try:
        device = torch.device(wanted)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"device {wanted!r} cannot be used: {reason}; try --device cpu") from error
    if device.type not in (CPU, "cuda"):
        raise UsageError(f"device {wanted!r} cannot be used: choose cpu, cuda or cuda:N")
    return str(device)


def usable_cores() -> int:
    """Return how many cores this process shall use: LOOKALIKE_CORES, else all that it may run on.

    Raises:
        UsageError: LOOKALIKE_CORES is no number from 1 on.
    """
    said = os.environ.get(CORES_VARIABLE)
    if said is not None:
        if not said.isascii() or not said.isdigit() or not int(said):
            raise UsageError(f"{CORES_VARIABLE}={said!r} is no number of cores: choose 1 or more")
        return int(said)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _has_nvidia_driver() -> bool:
    for library in ("libcuda.so.1", "nvcuda.dll"):
        try:
            ctypes.CDLL(library)
        except OSError:
            continue
        return True
    return False
