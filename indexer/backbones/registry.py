"""Backbones of the user's own: one folder for each, with its weights and what must be known to use them.

    LOOKALIKE_MODELS, else the user data folder's models/
        NAME/model.safetensors   the whole network, with its classifier
        NAME/model.json          RegisteredModel
        .runs/NAME/              where `finetune` works until the model is registered

A folder appears with one rename, complete or not at all. Knows no torch and no timm, so that looking a name up costs a
system call.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from platformdirs import user_data_path

from indexer.decoding.preparation import Preparation
from search.errors import CorruptFile, GuardRefused, LookalikeError, UsageError

FORMAT: Final = 1
WEIGHTS_NAME: Final = "model.safetensors"
FACTS_NAME: Final = "model.json"
RUNS: Final = ".runs"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_BUILTIN: Final = "builtin"
_BLOCK_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class RegisteredModel:
    """A backbone made by `finetune`.

    architecture: timm's canonical name with its tag, which says how the network is built. classes: names, in the order
    of the classifier's outputs. base and base_sha256: the backbone it started from, and the hash of its tensors without
    the classifier. weights_sha256: the same hash of its own; file_sha256: of model.safetensors. made: ISO 8601, UTC.
    """

    name: str
    architecture: str
    classes: tuple[str, ...]
    preparation: Preparation
    licence: str | None
    base: str
    base_sha256: str
    weights_sha256: str
    recipe: Mapping[str, Any]
    metrics: Mapping[str, Any]
    made: str
    file_sha256: str = ""

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return models_root() / self.name

    @property
    def file(self) -> Path:
        """Its weights."""
        return self.folder / WEIGHTS_NAME

    def as_dict(self) -> dict[str, Any]:
        """Return what model.json holds."""
        fields = asdict(self)
        return fields | {"format": FORMAT, "classes": list(self.classes), "preparation": self.preparation.as_dict()}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "RegisteredModel":
        """Return the model that `as_dict` described.

        Raises:
            LookalikeError: a newer release wrote it.
            UsageError, TypeError, KeyError: it does not describe a model.
        """
        if fields["format"] != FORMAT:
            raise LookalikeError(f"a newer release wrote {fields['name']} (format {fields['format']}): upgrade")
        kept = {key: value for key, value in fields.items() if key != "format"}
        preparation = Preparation.from_dict(fields["preparation"])
        return cls(**kept | {"classes": tuple(fields["classes"]), "preparation": preparation})


def models_root() -> Path:
    """Return the folder of registered models: LOOKALIKE_MODELS, else in the platform's user data folder."""
    chosen = os.environ.get("LOOKALIKE_MODELS")
    return Path(chosen).expanduser().absolute() if chosen else user_data_path("lookalike") / "models"


def runs_root() -> Path:
    """Return the folder in which fine-tuning runs keep their checkpoints."""
    return models_root() / RUNS


def find(name: str) -> RegisteredModel | None:
    """Return the registered model of this name, None when there is none; any text may be asked for.

    Raises:
        CorruptFile: its model.json cannot be read.
        LookalikeError: a newer release wrote it.
    """
    if _NAME.fullmatch(name) is None:
        return None
    place = models_root() / name / FACTS_NAME
    try:
        return RegisteredModel.from_dict(json.loads(place.read_bytes()))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, TypeError, KeyError, UsageError) as error:
        raise CorruptFile(
            f"{place} does not describe a model ({' '.join(str(error).split())}): remove {place.parent} and fine-tune "
            "again, or restore it from a backup"
        ) from error


def registered_names() -> list[str]:
    """Return the names of all registered models in order."""
    root = models_root()
    if not root.is_dir():
        return []
    folders = (entry for entry in root.iterdir() if _NAME.fullmatch(entry.name))
    return sorted(entry.name for entry in folders if (entry / FACTS_NAME).is_file())


def require_free(name: str, *, replacing: bool) -> None:
    """Refuse a name that cannot be given to a new model. replacing: an existing model of this name may go.

    Raises:
        UsageError: the name has letters that cannot be used, or means another backbone.
        GuardRefused: a model has this name, and may not be replaced.
    """
    if _NAME.fullmatch(name) is None:
        raise UsageError(
            f"{name!r} cannot name a model: use up to 100 letters, digits and - _ . (the first a letter or a digit)"
        )
    if name.lower() == _BUILTIN or _timm_knows(name):
        raise UsageError(f"{name!r} is the name of a backbone already: choose another --name")
    if (models_root() / name).exists() and not replacing:
        raise GuardRefused(f"there is a model {name!r} already: choose another --name, or pass --replace")


def register(
    model: RegisteredModel, weights: Path, reports: Sequence[Path] = (), *, replacing: bool = False
) -> RegisteredModel:
    """Copy a model's weights and reports into the registry, durably; return it with the hash of its file.

    weights: safetensors of the whole network. Until the last step nothing of an older model is touched.

    Raises:
        UsageError: the name cannot be used.
        GuardRefused: a model has this name, and may not be replaced.
        LookalikeError: the folder cannot be written.
    """
    require_free(model.name, replacing=replacing)
    finished = replace(model, file_sha256=_file_sha256(weights))
    # Names with a leading dot are never a model's, so a half-written folder is none.
    fresh = models_root() / f".new-{model.name}-{os.getpid()}"
    try:
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        for source, name in [(weights, WEIGHTS_NAME), *((report, report.name) for report in reports)]:
            shutil.copyfile(source, fresh / name)
            sync(fresh / name)
        text = json.dumps(finished.as_dict(), indent=2, allow_nan=False)
        (fresh / FACTS_NAME).write_text(text + "\n", encoding="utf-8")
        sync(fresh / FACTS_NAME)
        sync(fresh)
        _put_in_place(fresh, finished.folder)
    except OSError as error:
        raise LookalikeError(
            f"cannot register {model.name} in {models_root()}: {error.strerror or error}; free space or permissions, "
            "or set LOOKALIKE_MODELS, then run the same command again"
        ) from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return finished


def _put_in_place(fresh: Path, target: Path) -> None:
    old = target.with_name(f".old-{target.name}-{os.getpid()}")
    if target.exists():
        target.rename(old)
    fresh.rename(target)
    sync(target.parent)
    shutil.rmtree(old, ignore_errors=True)


def _timm_knows(name: str) -> bool:
    from indexer.backbones.timm_library import timm

    return bool(timm.is_model(name))


def sync(path: Path) -> None:
    """Return when a file or folder is on the disk."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _file_sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as opened:
        while block := opened.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()
