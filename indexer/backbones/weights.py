"""Weights files: where they are, what they hold, and whether they fit a network.

Only safetensors is read, since a pickle can run code. Weights come from a file or from the Hugging Face hub, whose
cache is asked first; offline (HF_HUB_OFFLINE=1) it is all there is.
"""

import hashlib
import json
import shlex
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import torch
from huggingface_hub import constants, hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError
from safetensors import SafetensorError, safe_open

from search.errors import UsageError, WeightsMismatch, WeightsUnavailable

Tensors = Mapping[str, torch.Tensor]

WEIGHTS_NAME: Final = "model.safetensors"
_PICKLE_SUFFIXES: Final = (".pth", ".pt", ".bin", ".ckpt", ".pkl", ".tar")
_PICKLE_STARTS: Final = (b"PK\x03\x04", b"\x80")  # torch's zip container, and a bare pickle


def from_hub(name: str, repository: str | None) -> Path:
    """Return a model's safetensors file from the hub's cache, else from the hub.

    name: of the model, for messages. repository: its hub id, None when it has none.

    Raises:
        WeightsUnavailable: nothing is cached and the hub cannot be reached or does not have it.
    """
    ways_out = (
        "connect to the Hugging Face hub once (the file is cached), or pass --weights FILE.safetensors with the "
        f"weights of {name}"
    )
    if repository is None:
        raise WeightsUnavailable(f"timm has no hub weights for {name}; pass --weights FILE.safetensors")
    try:
        return Path(hf_hub_download(repository, WEIGHTS_NAME, local_files_only=True))
    except LocalEntryNotFoundError:
        pass
    try:
        if not constants.HF_HUB_OFFLINE:
            socket.getaddrinfo(urlsplit(constants.ENDPOINT).hostname, None)  # the hub's own retries take minutes
        return Path(hf_hub_download(repository, WEIGHTS_NAME))
    except EntryNotFoundError as error:
        if isinstance(error, LocalEntryNotFoundError):
            raise WeightsUnavailable(f"no weights for {name}: the hub cannot be reached; {ways_out}") from error
        raise WeightsUnavailable(f"{repository} holds no {WEIGHTS_NAME}; pass --weights FILE.safetensors") from error
    except (OSError, HfHubHTTPError) as error:
        raise WeightsUnavailable(f"no weights for {name}: the hub cannot be reached; {ways_out}") from error


def read_tensors(file: Path) -> dict[str, torch.Tensor]:
    """Return every tensor of a safetensors file.

    Raises:
        WeightsUnavailable: there is no such file.
        UsageError: it is no safetensors file, or cut short; for a pickle the message is a way to convert it.
        WeightsMismatch: a tensor holds NaN or infinity.
    """
    _refuse_pickle(file)
    try:
        with safe_open(file, framework="pt") as stored:
            tensors = {key: stored.get_tensor(key) for key in stored.keys()}  # noqa: SIM118 -- not a mapping
    except FileNotFoundError as error:
        raise WeightsUnavailable(f"there is no weights file {file}; check the path given to --weights") from error
    except (SafetensorError, OSError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(
            f"{file} is not a safetensors file, or it is cut short ({reason}): download or convert it again"
        ) from error
    for key, tensor in tensors.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise WeightsMismatch(f"{file} holds NaN or infinity in {key}: the file is damaged, get it again")
    return tensors


def _refuse_pickle(file: Path) -> None:
    try:
        with file.open("rb") as opened:
            start = opened.read(4)
    except FileNotFoundError as error:
        raise WeightsUnavailable(f"there is no weights file {file}; check the path given to --weights") from error
    except OSError as error:
        raise UsageError(f"the weights file {file} cannot be read: {error.strerror}") from error
    if start.startswith(_PICKLE_STARTS) or file.suffix in _PICKLE_SUFFIXES:
        raise UsageError(
            f"{file} is not a safetensors file: pickled checkpoints can run code and are never loaded. Convert it once "
            f"with: {conversion(file)}"
        )


def conversion(file: Path) -> str:
    """Return the shell command that turns a checkpoint of tensors into safetensors without running its code.

    The tensors may lie under `state_dict_ema`, `state_dict` or `model`, as training scripts leave them.
    """
    target = file.with_suffix(".safetensors")
    if target.exists():  # perhaps the pickle itself, under a wrong name
        target = file.with_name(f"{file.stem}.converted.safetensors")
    code = (
        "import sys, torch; from safetensors.torch import save_file; "
        "t = torch.load(sys.argv[1], map_location='cpu', weights_only=True); "
        "t = next((t[k] for k in ('state_dict_ema', 'state_dict', 'model') if k in t), t); "
        "save_file({k: v.contiguous() for k, v in t.items() if isinstance(v, torch.Tensor)}, sys.argv[2])"
    )
    return shlex.join([sys.executable, "-c", code, str(file), str(target)])


def first_difference(expected: Tensors, found: Tensors) -> str | None:
    """Return where a file's tensors first differ from a network's, by name and shape; None when they fit.

    expected: the network's tensors in its own order; found: the file's. Shapes are printed as tuples.
    """
    for key, tensor in expected.items():
        if key not in found:
            if key.endswith("num_batches_tracked"):  # a training counter that old checkpoints lack
                continue
            return f"{key} {tuple(tensor.shape)} is missing"
        if found[key].shape != tensor.shape:
            return f"{key} is {tuple(found[key].shape)} in the file and {tuple(tensor.shape)} in the model"
    for key, tensor in found.items():
        if key not in expected:
            return f"{key} {tuple(tensor.shape)} is in the file and not in the model"
    return None


def weights_sha256(network: torch.nn.Module) -> str:
    """Return the sha256 over a network's tensors by name: equal for equal weights, however they lie in memory."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        if name.endswith("num_batches_tracked"):  # a training counter, not a weight
            continue
        array = tensor.detach().cpu().contiguous()
        digest.update(json.dumps([name, str(array.dtype), list(array.shape)]).encode())
        digest.update(array.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
