"""Pictures whose folders name their classes: FOLDER/CLASS/..., or FOLDER/train/CLASS/... beside FOLDER/val/CLASS/...

Every file is decoded once in a disposable child before any training, so that a bad one is known by name at the start
and a hostile one harms nobody. What was checked is remembered by its sha256: training decodes only those bytes.
"""

import hashlib
import json
import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from indexer.decoding.decoding import Decoder
from indexer.sources.sources import MAX_FILE_BYTES, FoundFile, Source, UnreadableFile, read_file, walk
from search.errors import BadImage, UsageError
from search.records import displayable, shown_path

TRAIN: Final = "train"
VAL: Final = "val"
LEAST_CLASSES: Final = 2
COPY: Final = "copy"
TWO_CLASSES: Final = "two_classes"
_SHOWN: Final = 3


@dataclass(frozen=True, slots=True)
class Labelled:
    """A picture that can be decoded. label: index of its class. sha256: of the bytes that were checked."""

    path: str
    label: int
    sha256: bytes


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file that is not trained with. reason: of the ledger, or "copy", or "two_classes"."""

    path: str
    reason: str
    detail: str

    def as_json(self) -> dict[str, str]:
        """Return the object of `skipped`."""
        return {"path": self.path, "reason": self.reason, "detail": self.detail}


@dataclass(frozen=True, slots=True)
class LabelledPictures:
    """What is learnt from and what is checked with. classes: names in the order of labels."""

    classes: tuple[str, ...]
    train: tuple[Labelled, ...]
    val: tuple[Labelled, ...]
    skipped: tuple[Skipped, ...]

    def digest(self) -> str:
        """Return 64 hexadecimal digits that are equal exactly for equal classes and pictures, wherever they lie."""
        listed = [[[one.label, one.sha256.hex()] for one in part] for part in (self.train, self.val)]
        return hashlib.sha256(json.dumps([self.classes, listed]).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A file that may be a picture. part: TRAIN, VAL, or "" where there is no such split."""

    file: FoundFile
    label: int
    part: str


@dataclass(frozen=True, slots=True)
class LabelledFiles:
    """Files by class, none of them opened yet. classes: names of folders. split_given: by train/ and val/."""

    folder: Path
    classes: tuple[str, ...]
    split_given: bool
    candidates: tuple[_Candidate, ...]
    unreadable: tuple[Skipped, ...]


def find_labelled(folder: Path) -> LabelledFiles:
    """Return the files of each class, judging by their names alone.

    Raises:
        UsageError: there are not two classes, one is empty, or the halves of the split have different ones.
    """
    roots = _roots(folder)
    classes = _class_names(folder, roots)
    candidates, unreadable = _candidates(roots, classes)
    _refuse_empty(folder, classes, candidates)
    return LabelledFiles(folder, classes, TRAIN in roots, tuple(candidates), tuple(unreadable))


def read_labelled(
    files: LabelledFiles,
    decoder: Decoder,
    *,
    val_fraction: float,
    seed: int,
    threads: int,
    checked: Callable[[int, int], None] = lambda done, total: None,
) -> LabelledPictures:
    """Return the usable pictures of a folder, split into what is learnt from and what is checked with.

    Equal files count once. Without train/ and val/, of every class this share of its pictures, at least one, is kept
    for checking: always the same ones for one seed. checked: called with files checked and files in all.

    Raises:
        UsageError: a class has not enough usable pictures for both halves of the split.
    """
    require_share(val_fraction)
    good, bad = _check(files.candidates, decoder, threads, checked)
    usable, repeated = _without_copies(good)
    if files.split_given:
        train, val = ([one for part, one in usable if part == wanted] for wanted in (TRAIN, VAL))
    else:
        train, val = _split([one for _, one in usable], val_fraction, seed)
    _refuse_thin(files.classes, train, val, split_given=files.split_given)
    shown = tuple(displayable(Path(name)) for name in files.classes)
    return LabelledPictures(shown, tuple(train), tuple(val), (*files.unreadable, *bad, *repeated))


def require_share(val_fraction: float) -> None:
    """Raises:
    UsageError: this share leaves nothing in one half of the split.
    """
    if not 0 < val_fraction < 1:
        raise UsageError(f"--val-fraction {val_fraction} cannot be used: choose a number above 0 and below 1")


def _roots(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder; name one that holds a folder of pictures for each class")
    halves = {part: folder / part for part in (TRAIN, VAL)}
    return halves if all(_subfolders(half) for half in halves.values()) else {"": folder}


def _subfolders(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    return sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _class_names(folder: Path, roots: dict[str, Path]) -> tuple[str, ...]:
    found = {part: _subfolders(root) for part, root in roots.items()}
    if TRAIN in found and found[TRAIN] != found[VAL]:
        lonely = sorted(set(found[TRAIN]) ^ set(found[VAL]))
        raise UsageError(
            f"{folder}/{TRAIN} and {folder}/{VAL} have different classes ({_listed(lonely)} in one only): "
            "every class needs pictures in both"
        )
    (names, *_) = found.values()
    if len(names) < LEAST_CLASSES:
        found_text = f"only the class {_listed(names)}" if names else "no class folders"
        raise UsageError(
            f"{folder} has {found_text}; at least two are needed: "
            "FOLDER/<class>/<pictures>, or the same below FOLDER/train and FOLDER/val"
        )
    return tuple(names)


def _candidates(roots: dict[str, Path], classes: Sequence[str]) -> tuple[list[_Candidate], list[Skipped]]:
    candidates, skipped = [], []
    for part, root in roots.items():
        for label, name in enumerate(classes):
            for found in walk([Source(str((root / name).resolve()), "folder", named=False)]):
                if isinstance(found, FoundFile):
                    candidates.append(_Candidate(found, label, part))
                elif isinstance(found, UnreadableFile):
                    skipped.append(Skipped(shown_path(found.uri) or found.uri, found.reason, found.detail))
    return candidates, skipped


def _refuse_empty(folder: Path, classes: Sequence[str], candidates: Iterable[_Candidate]) -> None:
    filled = {candidate.label for candidate in candidates}
    empty = [name for label, name in enumerate(classes) if label not in filled]
    if empty:
        raise UsageError(
            f"there are no pictures in {_listed(empty)} of {folder}: fill or remove what is no class "
            "(symbolic links to pictures are not followed)"
        )


def _check(
    candidates: Sequence[_Candidate], decoder: Decoder, threads: int, checked: Callable[[int, int], None]
) -> tuple[list[tuple[str, Labelled]], list[Skipped]]:
    """Decode every file once; return the good ones with their part, and the bad ones."""
    good: list[tuple[str, Labelled]] = []
    bad: list[Skipped] = []
    executor = ThreadPoolExecutor(threads, "check")
    try:
        answers = executor.map(lambda candidate: _check_one(candidate, decoder), candidates)
        for done, (candidate, answer) in enumerate(zip(candidates, answers, strict=True), start=1):
            if isinstance(answer, Labelled):
                good.append((candidate.part, answer))
            else:
                bad.append(answer)
            checked(done, len(candidates))
    finally:
        executor.shutdown(cancel_futures=True)
    return good, bad


def _check_one(candidate: _Candidate, decoder: Decoder) -> Labelled | Skipped:
    path = candidate.file.path
    try:
        data = read_file(candidate.file, MAX_FILE_BYTES)
        decoder.decode(data, path)
    except BadImage as error:
        return Skipped(displayable(Path(path)), error.reason, error.detail)
    return Labelled(path, candidate.label, hashlib.sha256(data).digest())


def _without_copies(good: Iterable[tuple[str, Labelled]]) -> tuple[list[tuple[str, Labelled]], list[Skipped]]:
    """Return each content once: a copy would count twice, and in the other half of the split it would be cheating."""
    groups: dict[bytes, list[tuple[str, Labelled]]] = defaultdict(list)
    for part, one in good:
        groups[one.sha256].append((part, one))
    kept, skipped = [], []
    for group in groups.values():
        first = group[0][1]
        if len({one.label for _, one in group}) > 1:
            others = "the same file lies in another class too, so neither can be right"
            skipped += [Skipped(displayable(Path(one.path)), TWO_CLASSES, others) for _, one in group]
            continue
        kept.append(group[0])
        same = f"the same file as {displayable(Path(first.path))}"
        skipped += [Skipped(displayable(Path(one.path)), COPY, same) for _, one in group[1:]]
    return kept, skipped


def _split(usable: Sequence[Labelled], val_fraction: float, seed: int) -> tuple[list[Labelled], list[Labelled]]:
    """Keep a share of each class for checking, by content: names and order of the files do not matter."""
    by_class: dict[int, list[Labelled]] = defaultdict(list)
    for one in sorted(usable, key=lambda one: one.sha256):
        by_class[one.label].append(one)
    train, val = [], []
    for label, members in sorted(by_class.items()):
        random.Random(f"{seed} {label}").shuffle(members)
        kept = min(max(1, round(val_fraction * len(members))), len(members) - 1)
        val += members[:kept]
        train += members[kept:]
    return train, val


def _refuse_thin(
    classes: Sequence[str], train: Iterable[Labelled], val: Iterable[Labelled], *, split_given: bool
) -> None:
    in_train, in_val = {one.label for one in train}, {one.label for one in val}
    bad = [name for label, name in enumerate(classes) if label not in in_train | in_val]
    if bad:
        raise UsageError(f"none of the pictures in {_listed(bad)} can be used: replace them, or remove the folder")
    thin = [name for label, name in enumerate(classes) if label not in in_train & in_val]
    if thin:
        wanted = (
            f"one usable picture in {TRAIN} and one in {VAL}"
            if split_given
            else "two different usable pictures, one to learn from and one to check with"
        )
        raise UsageError(f"too few pictures in {_listed(thin)}: every class needs at least {wanted}")


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(repr(displayable(Path(name))) for name in names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"
