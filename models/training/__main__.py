"""The command line: `python -m models.training STAGE`."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from models.training.errors import TrainingError
from models.training.recipe import RECIPE_FILE, SMOKE_RECIPE_FILE, load_recipe

if TYPE_CHECKING:
    from collections.abc import Sequence

FINISHED: Final = 0
FAILED: Final = 1
# The stage has more to do: run the same command again.
PAUSED: Final = 3

STAGES: Final = (
    "data",
    "autoencoder",
    "text",
    "denoiser",
    "few-step",
    "release",
    "evaluate",
)
_REPOSITORY: Final = Path(__file__).parents[2]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one stage, or all in order; return the exit status.

    0: finished. 1: cannot go on; stderr says what to do next. 3: paused by --minutes or Ctrl-C,
    with a checkpoint: the same command goes on.
    """
    options = _parser().parse_args(arguments)
    try:
        # Imported late: --help and a wrong recipe need neither torch nor its seconds.
        recipe_file = SMOKE_RECIPE_FILE if options.smoke else options.recipe
        recipe = load_recipe(recipe_file, options.profile)
        _quieten()
        from models.training.command import Command, run_stage  # noqa: PLC0415

        command = Command.of(recipe, options)
        chosen = STAGES if options.stage == "all" else (options.stage,)
        for stage in chosen:
            if not run_stage(stage, command):
                print(f"{stage}: paused; run the same command again to go on.")
                return PAUSED
    except TrainingError as error:
        sys.stderr.write(f"{error}\n")
        return FAILED
    return FINISHED


def _quieten() -> None:
    """Turn off what libraries say about themselves: it hides our own few lines.

    Before they are imported in full, because some speak up while they are.
    """
    from diffusers.utils import logging as diffusers_logging  # noqa: PLC0415
    from transformers.utils import logging as transformers_logging  # noqa: PLC0415

    for library in (transformers_logging, diffusers_logging):
        library.set_verbosity_error()
        library.disable_progress_bar()
    # The exporter names every operator set that is not installed.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)


def _parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m models.training",
        description="Makes the embedded model: data, training, release, evaluation. Every stage "
        "goes on where it stopped, and is left alone once it is finished.",
    )
    add = parser.add_argument
    add("stage", choices=(*STAGES, "all"))
    add("--work", type=Path, default=_REPOSITORY / "var" / "training", metavar="DIR")
    add("--recipe", type=Path, default=RECIPE_FILE, metavar="FILE")
    add("--profile", help="of the recipe, such as cpu or gpu")
    add("--smoke", action="store_true", help="the tiny recipe that tests the way, not the result")
    add("--minutes", type=_positive, help="pause after this time, with a checkpoint")
    add("--device", choices=("cpu", "cuda"), default="cpu")
    add("--threads", type=_count, help="processor threads of torch")
    add("--processes", type=_count, default=1, help="train in this many, on a CPU")
    add("--init", type=Path, metavar="FOLDER", help="a pipeline folder to start training from")
    add("--shard-mb", type=_positive, metavar="MB", help="no file larger than this")
    add("--target", type=Path, metavar="FOLDER", help="release: install the model there too")
    return parser


def _count(text: str) -> int:
    """Return a whole number from 1 on, or raise what argparse explains."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {text}")
    return value


def _positive(text: str) -> float:
    """Return a positive number, or raise what argparse explains."""
    value = float(text)
    if not value > 0:
        raise argparse.ArgumentTypeError(f"must be above 0, not {text}")
    return value


if __name__ == "__main__":
    sys.exit(main())
