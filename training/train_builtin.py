"""Train the built-in backbone: `python -m training.train_builtin --seed 0 --minutes 90 --out FILE --resume`.

Draws procedural pictures, trains the network on edited views of them, fits its last linear map, and writes its weights
in half precision. Every part is saved in --folder as it is made; the same command with --resume goes on after an
interruption, and gives the weights that an uninterrupted run gives. --steps is the length of the whole run, --minutes
the most that one call may take: it then stops with what it has, to be called again.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from indexer.backbones.joined_views import JoinedViews
from indexer.devices import usable_cores
from training.export import write_weights
from training.picture_pool import draw_pool, read_pool
from training.projection import set_head
from training.training_run import SHAPE, Recipe, Run, all_views, looks_of_views

FITTED, FITTED_VIEWS = 1500, 4  # pictures, and views of each, that the last linear map is fitted on
SAVE_EVERY_S = 120
SAY_EVERY = 50  # steps


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw, train, write; return 0 when the run is complete, 3 when the minutes were over before."""
    options = _options(arguments)
    ends = time.monotonic() + 60 * options.minutes
    recipe = Recipe(seed=options.seed, pictures=options.pictures, steps=options.steps)
    torch.set_num_threads(options.threads)
    for drawn in draw_pool(options.folder / "pictures", recipe.pictures, recipe.seed, options.threads):
        print(f"{drawn} of {recipe.pictures} pictures drawn", flush=True)
    checkpoint: Path = options.folder / "run.pt"
    try:
        run = begun(checkpoint, recipe, options.device, resume=options.resume)
    except ValueError as error:
        raise SystemExit(f"train_builtin: {error}") from error
    if not train(run, checkpoint, ends, options):
        print(f"stopped after {run.step} of {recipe.steps} steps; go on with the same command and --resume")
        return 3
    pictures = read_pool(options.folder / "pictures", recipe.pictures, recipe.seed)
    joined = JoinedViews(run.network, run.shape.dims).to(run.device).eval()
    set_head(joined.head, looks_of_views(joined, recipe, pictures, min(FITTED, len(pictures)), FITTED_VIEWS))
    write_weights(joined, run.shape, options.out, recipe.as_dict())
    print(f"wrote {options.out}: {options.out.stat().st_size / 1e6:.1f} MB")
    return 0


def begun(checkpoint: Path, recipe: Recipe, device: str, *, resume: bool) -> Run:
    """Return the run that lies there if it shall be taken up, else a new one.

    Raises:
        ValueError: the run that lies there is of another recipe.
    """
    if resume and checkpoint.exists():
        run = Run.resumed(checkpoint, recipe, device)
        print(f"going on after step {run.step}", flush=True)
        return run
    return Run(recipe, SHAPE, device)


def train(run: Run, checkpoint: Path, ends: float, options: argparse.Namespace) -> bool:
    """Take all steps that are left, or as many as end in time; save now and then; return whether all are done."""
    pictures = read_pool(options.folder / "pictures", run.recipe.pictures, run.recipe.seed)
    saved, found, contrast = time.monotonic(), 0.0, 0.0
    for views, identities in all_views(pictures, run.recipe, run.step, options.view_threads):
        loss = run.advance(views, identities)
        found += loss.found.item() / SAY_EVERY
        contrast += loss.contrast.item() / SAY_EVERY
        if run.step % SAY_EVERY == 0:
            rate = run.recipe.rate_at(run.step - 1)
            spent = time.process_time()
            print(
                f"step {run.step} contrast {contrast:.3f} found {found:.3f} rate {rate:.5f} cpu {spent:.0f} s",
                flush=True,
            )
            found = contrast = 0.0
        late = time.monotonic() >= ends
        if late or time.monotonic() - saved >= SAVE_EVERY_S or run.step == run.recipe.steps:
            run.save(checkpoint)
            saved = time.monotonic()
        if late and run.step < run.recipe.steps:
            return False
    return True


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m training.train_builtin", description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=Recipe().steps, help="of the whole run")
    parser.add_argument("--pictures", type=int, default=Recipe().pictures, help="drawn once and kept")
    parser.add_argument("--minutes", type=float, default=90, help="the most this call may take")
    parser.add_argument("--out", type=Path, default=Path("build/training/builtin.safetensors"))
    parser.add_argument("--folder", type=Path, default=Path("build/training"), help="pictures and checkpoints")
    parser.add_argument("--resume", action="store_true", help="go on with the run in the folder")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=usable_cores(), help="of the network's arithmetic")
    parser.add_argument("--view-threads", type=int, default=max(1, usable_cores() // 2), help="that make views ahead")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    raise SystemExit(main())
