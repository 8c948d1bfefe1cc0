"""Where a fine-tuning run stands, on disk: written after every epoch, so that an interrupted run goes on.

    run.json            what the run is of; another run does not go on with its checkpoints
    last.safetensors    the newest epoch: trained tensors, momentum, and the state as JSON in the file's header
    best.safetensors    trained tensors of the best epoch so far

Tensors and state are one file and one rename, so they cannot disagree. There is no generator state to keep: what is
random in an epoch depends on the seed and the epoch's number alone. No pickle is written or read.
"""

import contextlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from indexer.backbones.registry import sync
from indexer.finetuning.tuned_network import TunedNetwork
from search.errors import GuardRefused, LookalikeError

RUN_NAME: Final = "run.json"
LAST_NAME: Final = "last.safetensors"
BEST_NAME: Final = "best.safetensors"
_STATE: Final = "state"
_MOMENTUM: Final = "momentum "  # no tensor's name has a space
_BUFFER: Final = "momentum_buffer"


@dataclass(frozen=True, slots=True)
class EpochResult:
    """What an epoch came to. epoch: from 1. loss: mean while learning; accuracy and val_loss: on pictures kept for
    checking, in 0..1; lr: of the last update. seconds: of the epoch, checking included.
    """

    epoch: int
    loss: float
    val_loss: float
    accuracy: float
    lr: float
    seconds: float

    def better_than(self, other: "EpochResult | None") -> bool:
        """Tell whether this epoch is the one to keep: more right, or as many with less doubt."""
        return other is None or (self.accuracy, -self.val_loss) > (other.accuracy, -other.val_loss)


@dataclass(frozen=True, slots=True)
class RunState:
    """Epochs done, oldest first, and the best of them."""

    history: tuple[EpochResult, ...] = ()
    best: EpochResult | None = None

    @property
    def epochs_done(self) -> int:
        """How many epochs lie behind."""
        return len(self.history)

    def after(self, result: EpochResult) -> "RunState":
        """Return the state after one more epoch."""
        return RunState((*self.history, result), result if result.better_than(self.best) else self.best)


class RunFolder:
    """The folder of one run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def unfinished(self) -> bool:
        """Whether there is a checkpoint to go on from."""
        return (self.folder / LAST_NAME).exists()

    def open(self, settings: Mapping[str, Any], *, restart: bool) -> None:
        """Make the folder ready for a run. settings: all that decides what comes out, as JSON.

        Raises:
            GuardRefused: an unfinished run of other settings lies here.
            LookalikeError: the folder cannot be written.
        """
        text = json.dumps(settings, indent=2, sort_keys=True) + "\n"
        place = self.folder / RUN_NAME
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if restart or not self.unfinished:
                self.clear()
            elif not place.exists() or place.read_text("utf-8") != text:
                raise GuardRefused(
                    f"an unfinished run of something else lies in {self.folder}{_changed(place, settings)}: "
                    "go on with its own settings, choose another --name, or discard it with --restart"
                )
            _write(place, lambda partial: partial.write_text(text, "utf-8"))
        except OSError as error:
            raise _unwritable(place, error) from error

    def clear(self) -> None:
        """Remove the checkpoints; reports stay."""
        for name in (LAST_NAME, BEST_NAME):
            (self.folder / name).unlink(missing_ok=True)

    def save(self, network: TunedNetwork, optimizer: torch.optim.Optimizer, state: RunState) -> None:
        """Write where the run stands, durably; the best epoch's tensors too when that is the newest.

        Raises:
            LookalikeError: the disk is full, or refuses the write; the checkpoint before stays.
        """
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.trained().items()}
        header = {_STATE: json.dumps(asdict(state))}
        if state.best == state.history[-1]:
            self._save(BEST_NAME, tensors, header)
        momentum = {}
        for name, parameter in network.named_learning():
            buffer = optimizer.state[parameter].get(_BUFFER)
            if buffer is not None:
                momentum[_MOMENTUM + name] = buffer.detach().cpu().contiguous()
        self._save(LAST_NAME, tensors | momentum, header)

    def resume(self, network: TunedNetwork, optimizer: torch.optim.Optimizer) -> RunState:
        """Put network and optimizer where the run stands; return its state.

        Raises:
            LookalikeError: a checkpoint is damaged, or belongs to another network.
        """
        tensors, state = self._read(LAST_NAME)
        network.restore({name: tensor for name, tensor in tensors.items() if not name.startswith(_MOMENTUM)})
        for name, parameter in network.named_learning():
            buffer = tensors.get(_MOMENTUM + name)
            if buffer is not None:
                optimizer.state[parameter][_BUFFER] = buffer.to(parameter.device)
        # A crash between the two files leaves the best one an epoch ahead.
        best = self._read(BEST_NAME)[1].best
        return RunState(state.history, best if best is not None and best.better_than(state.best) else state.best)

    def load_best(self, network: TunedNetwork) -> None:
        """Put the best epoch's tensors into the network.

        Raises:
            LookalikeError: the checkpoint is damaged, or belongs to another network.
        """
        network.restore(self._read(BEST_NAME)[0])

    def _save(self, name: str, tensors: Mapping[str, torch.Tensor], header: dict[str, str]) -> None:
        place = self.folder / name
        try:
            _write(place, lambda partial: save_file(dict(tensors), partial, header))
        except (OSError, SafetensorError) as error:
            raise _unwritable(place, error) from error

    def _read(self, name: str) -> tuple[dict[str, torch.Tensor], RunState]:
        place = self.folder / name
        try:
            with safe_open(place, framework="pt") as stored:
                tensors = {key: stored.get_tensor(key) for key in stored.keys()}  # noqa: SIM118 -- not a mapping
                return tensors, _state(json.loads(stored.metadata()[_STATE]))
        except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
            reason = " ".join(str(error).split())
            raise LookalikeError(f"the checkpoint {place} is damaged ({reason}): begin anew with --restart") from error


def write_report(place: Path, text: str) -> None:
    """Write a small file durably, complete or not at all.

    Raises:
        LookalikeError: the disk is full, or refuses the write.
    """
    try:
        _write(place, lambda partial: partial.write_text(text, "utf-8"))
    except OSError as error:
        raise _unwritable(place, error) from error


def _write(place: Path, write: Any) -> None:
    partial = place.with_name(place.name + ".partial")
    try:
        write(partial)
        sync(partial)
        partial.rename(place)
        sync(place.parent)
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def _state(fields: Mapping[str, Any]) -> RunState:
    best = fields["best"]
    history = tuple(EpochResult(**one) for one in fields["history"])
    return RunState(history, None if best is None else EpochResult(**best))


def _changed(place: Path, settings: Mapping[str, Any]) -> str:
    """Return which settings differ from those of the run that lies here, as an end of a sentence's first half."""
    try:
        before = json.loads(place.read_text("utf-8"))
    except (OSError, ValueError):
        return ""
    names = sorted(name for name in settings.keys() | before.keys() if settings.get(name) != before.get(name))
    return f" ({', '.join(names)} differ)" if names else ""


def _unwritable(place: Path, error: Exception) -> LookalikeError:
    reason = getattr(error, "strerror", None) or " ".join(str(error).split())
    return LookalikeError(f"cannot write {place}: {reason}; free space or permissions, then run the same command again")
