"""Writes that are either there in full or not at all, and say what to do when the disk is full."""

from __future__ import annotations

import errno
import os
import re
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING

from safetensors import SafetensorError

from models.training.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    # Writes bytes to a new file; raises OSError. Tests pass one that runs out of space.
    Writer = Callable[[Path, bytes], None]

_PARTIAL = ".partial-"
_REPLACED = ".replaced-"


def write_durably(path: Path, content: bytes) -> None:
    """Write `content` to `path` and wait until it has reached the disk. Raises OSError."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def replace_file(path: Path, content: bytes, write: Writer = write_durably) -> None:
    """Give `path` new content; a reader sees the old or the new, never a part.

    Raises TrainingError if it cannot be written; the old content then stays.
    """
    partial = path.with_name(f"{_PARTIAL}{path.name}")
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            write(partial, content)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder that takes the place of `target` when the block ends well.

    If it does not, `target` stays as it was and the new folder is removed. A process that is killed
    leaves at worst a folder whose name starts with a dot, which nothing loads and the next call
    removes. Raises TrainingError for an OSError inside the block.
    """
    partial = target.with_name(f"{_PARTIAL}{target.name}")
    replaced = target.with_name(f"{_REPLACED}{target.name}")
    with explained(target):
        try:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            yield partial
            shutil.rmtree(replaced, ignore_errors=True)
            if target.exists():
                target.rename(replaced)
            partial.rename(target)
            shutil.rmtree(replaced, ignore_errors=True)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn an OSError inside the block into a TrainingError about writing `path`.

    The safetensors library has an error of its own for the same, with the number in its text.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        number = error.errno if isinstance(error, OSError) else _os_error_number(str(error))
        if number in (errno.ENOSPC, errno.EDQUOT):
            raise TrainingError(
                f"The disk is full: {path} was not written, and what was there before still is. "
                "Free some space and run the same command again; it goes on from the last "
                "checkpoint."
            ) from error
        raise TrainingError(
            f"{path} cannot be written ({error}). Put that right and run the same command again."
        ) from error


def _os_error_number(message: str) -> int | None:
    """Return N of "... (os error N)", as Rust words it."""
    found = re.search(r"\(os error (\d+)\)", message)
    return int(found[1]) if found else None
