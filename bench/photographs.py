"""Which photographs a benchmark is about: the folder it is given, or the one that all of them take by default."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final, NoReturn

VARIABLE: Final = "LOOKALIKE_BENCH_PHOTOS"
BESIDE: Final = Path(__file__).parents[2] / "shared" / "photos"  # of the repository
SKIPPED: Final = 77  # exit code of what cannot be measured here, as test programs have it


def photo_folder(given: Path | None, sample: Callable[[], Path] | None = None) -> Path:
    """Return the folder that was given, else that of LOOKALIKE_BENCH_PHOTOS, else ../shared/photos, else a sample.

    sample: makes the sample collection, where its drawn pictures are as good for the figures; None where they are not:
    the benchmark then says that it is skipped, and ends.
    """
    found = found_photographs(given)
    if found is not None:
        return found
    return skip(f"needs a folder of photographs: name one, or set {VARIABLE}") if sample is None else sample()


def found_photographs(given: Path | None) -> Path | None:
    """Return the same without a sample, None where there are no photographs."""
    for named, folder in (("the argument", given), (VARIABLE, _of_environment())):
        if folder is not None:
            if not folder.is_dir():
                sys.exit(f"{named} says {folder}, which is no folder")
            return folder
    return BESIDE if BESIDE.is_dir() else None


def skip(why: str) -> NoReturn:
    """End a benchmark that cannot be run here."""
    print(f"skipped: {why}", file=sys.stderr)
    sys.exit(SKIPPED)


def _of_environment() -> Path | None:
    said = os.environ.get(VARIABLE)
    return Path(said).expanduser() if said else None
