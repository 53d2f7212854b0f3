"""What a finished stage hands to the next: a folder of networks with a record of its origin."""

from __future__ import annotations

import hashlib
import json
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from models.training.errors import TrainingError
from models.training.storage import explained, new_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from models.training.checkpoint import Origin

_RECORD: Final = "result.json"
_FOLDER: Final = "result"


@dataclass(frozen=True, slots=True)
class Result:
    """A finished stage. digest: over every file, so that the next stage knows it by its content.

    folder: network folders as diffusers and transformers save them. steps: trained, in all.
    parents: digests of the results it builds on, by stage.
    """

    folder: Path
    recipe: str
    parents: dict[str, str]
    steps: int
    digest: str

    def is_of(self, origin: Origin) -> bool:
        """Return whether this recipe made it, from these parents."""
        return (self.recipe, self.parents) == (origin.recipe, dict(origin.parents))


@contextmanager
def new_result(run: Path, origin: Origin, steps: int) -> Iterator[Path]:
    """Yield a folder to fill; it becomes the result of `run` when the block ends well.

    run: the stage's folder. Raises TrainingError if it cannot be written; an
    earlier result then stays.
    """
    with new_folder(run / _FOLDER) as folder:
        yield folder
        record = {
            "recipe": origin.recipe,
            "parents": dict(origin.parents),
            "steps": steps,
            "digest": _digest(folder),
        }
        (folder / _RECORD).write_text(json.dumps(record, indent=1))


def find_result(run: Path) -> Result | None:
    """Return the result of `run`, whatever recipe made it, or None."""
    folder = run / _FOLDER
    path = folder / _RECORD
    if not path.is_file():
        return None
    try:
        return Result(folder=folder, **json.loads(path.read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise TrainingError(
            f"{path} cannot be read ({error}). Remove {folder} and run the stage again."
        ) from error


def require_result(run: Path, command: str, origin: Origin) -> Result:
    """Return the result of `run`, checked.

    command: the stage's name on the command line. Raises TrainingError if the stage is not
    finished, if its files were altered, or if it was made by another recipe or from other parents.
    """
    result = find_result(run)
    if result is None:
        raise TrainingError(
            f"The stage {command!r} is not finished: run `python -m models.training {command}` "
            "with the same --work and recipe until it says so."
        )
    if result.recipe != origin.recipe:
        raise TrainingError(
            f"{result.folder} was made by another recipe. Give that recipe, or another --work "
            f"folder, or remove {run} and run `python -m models.training {command}` again."
        )
    if result.parents != dict(origin.parents):
        raise TrainingError(
            f"{result.folder} was trained on results that have changed since. Bring them back, or "
            f"remove {run} and run `python -m models.training {command}` again."
        )
    with explained(result.folder):
        digest = _digest(result.folder)
    if digest != result.digest:
        raise TrainingError(
            f"{result.folder} was altered after it was made. Remove it and run "
            f"`python -m models.training {command}` again, which takes it from the last checkpoint."
        )
    return result


def _digest(folder: Path) -> str:
    """Return the SHA-256 over names and contents of every file but the record."""
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != _RECORD:
            with path.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
            total.update(f"{content}  {path.relative_to(folder).as_posix()}\n".encode())
    return total.hexdigest()
