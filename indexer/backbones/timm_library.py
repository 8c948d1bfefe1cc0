"""timm itself; the only module that imports it, so that everyone gets the cure for torchvision below."""

import torch


def _declare_torchvision_operators() -> None:
    """Let `import torchvision` succeed beside a CPU build of torch.

    PyPI's torchvision is built for CUDA; without its binary extension two operators it registers fakes for do not
    exist, and importing it (and so timm) dies with "operator torchvision::nms does not exist".
    """
    library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")  # type: ignore[no-untyped-call]
    _KEEP_ALIVE.append(library)


_KEEP_ALIVE: list[torch.library.Library] = []
try:
    import timm
except RuntimeError as error:
    if "torchvision::nms" not in str(error):
        raise
    _declare_torchvision_operators()
    import timm

import timm.data  # noqa: E402
import timm.layers  # noqa: E402
import timm.models  # noqa: E402

__all__ = ["timm"]


def training_parts() -> None:
    """Import the parts of timm that only training needs: a quarter of a second."""
    import timm.loss
    import timm.optim
    import timm.scheduler
    import timm.utils  # noqa: F401 -- found as attributes of timm from now on
