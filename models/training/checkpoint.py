"""Checkpoints: everything a stage needs to go on as if it had never stopped."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import torch

from models.training.errors import TrainingError
from models.training.storage import new_folder, write_durably

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from models.training.storage import Writer

_MANIFEST: Final = "manifest.json"
_PREFIX: Final = "checkpoint-"
_KEEP: Final = 2
_WHOLE_BYTES: Final = 2**40


@dataclass(frozen=True, slots=True)
class Origin:
    """What a checkpoint belongs to; it fits a run only if all of this is equal.

    recipe: digest of what decides the stage. parents: digests of the results it builds on, by
    stage.
    """

    stage: str
    recipe: str
    parents: Mapping[str, str]


class CheckpointStore:
    """The checkpoints of one run: folders `checkpoint-<step>`, the last two of them kept.

    part_bytes: the largest file of a checkpoint, None for no limit. write: writes one file.
    """

    def __init__(
        self,
        folder: Path,
        origin: Origin,
        *,
        part_bytes: int | None = None,
        write: Writer = write_durably,
    ) -> None:
        self._folder = folder
        self._origin = origin
        self._part_bytes = part_bytes or _WHOLE_BYTES
        self._write = write

    def save(self, step: int, state: Mapping[str, Any]) -> Path:
        """Write a checkpoint and drop the oldest; return its folder.

        state: tensors, numbers, strings, None, and containers of these. Raises TrainingError if it
        cannot be written; the earlier checkpoints then stay.
        """
        buffer = io.BytesIO()
        torch.save(dict(state), buffer)
        content = buffer.getbuffer()
        target = self._folder / f"{_PREFIX}{step:08d}"
        with new_folder(target) as folder:
            parts = []
            for index, begin in enumerate(range(0, len(content), self._part_bytes)):
                part = bytes(content[begin : begin + self._part_bytes])
                name = f"part-{index:04d}.bin"
                self._write(folder / name, part)
                parts.append({"name": name, "sha256": hashlib.sha256(part).hexdigest()})
            manifest = {"step": step, "origin": asdict(self._origin), "parts": parts}
            self._write(folder / _MANIFEST, json.dumps(manifest, indent=1).encode())
        for old in self._folders()[:-_KEEP]:
            shutil.rmtree(old)
        return target

    def check_latest(self) -> None:
        """Raise TrainingError if the newest whole checkpoint belongs to something else."""
        for folder in reversed(self._folders()):
            manifest = _read_manifest(folder)
            if manifest is not None:
                self._refuse_strangers(folder, manifest["origin"])
                return

    def load_latest(self, device: torch.device | str) -> tuple[int, dict[str, Any]] | None:
        """Return (step, state) of the newest whole checkpoint, tensors on `device`, None without.

        A damaged one is passed over for the one before. Raises TrainingError if the newest belongs
        to another recipe or other parents, or if all are damaged.
        """
        folders = self._folders()
        for folder in reversed(folders):
            manifest = _read_manifest(folder)
            content = _read_parts(folder, manifest) if manifest is not None else None
            if manifest is None or content is None:
                print(f"{folder} is damaged: going on from the checkpoint before it.")
                continue
            self._refuse_strangers(folder, manifest["origin"])
            # weights_only: a checkpoint may come from another machine, and pickles run code.
            state = torch.load(io.BytesIO(content), map_location=device, weights_only=True)
            return int(manifest["step"]), state
        if folders:
            raise TrainingError(
                f"Every checkpoint in {self._folder} is damaged. Remove that folder to start the "
                "stage again, or bring an undamaged copy back."
            )
        return None

    def _folders(self) -> list[Path]:
        return sorted(self._folder.glob(f"{_PREFIX}*"))

    def _refuse_strangers(self, folder: Path, origin: Mapping[str, Any]) -> None:
        """Raise TrainingError if the checkpoint was not made by this recipe on these parents."""
        found = Origin(**origin)
        if found == self._origin:
            return
        if (found.stage, found.recipe) != (self._origin.stage, self._origin.recipe):
            raise TrainingError(
                f"{folder} was made by another recipe. Give the recipe it was made by, or another "
                f"--work folder, or remove {self._folder} to train this stage anew."
            )
        changed = sorted(
            name
            for name, digest in self._origin.parents.items()
            if found.parents.get(name) != digest
        )
        raise TrainingError(
            f"{folder} was trained on another result of: {', '.join(changed)}. Bring that result "
            f"back, or remove {self._folder} to train this stage anew."
        )


def _read_manifest(folder: Path) -> dict[str, Any] | None:
    """Return the manifest, or None if it is missing or not what `save` writes."""
    try:
        manifest = json.loads((folder / _MANIFEST).read_bytes())
    except (OSError, ValueError):
        return None
    is_whole = isinstance(manifest, dict) and manifest.keys() >= {"step", "origin", "parts"}
    return manifest if is_whole else None


def _read_parts(folder: Path, manifest: Mapping[str, Any]) -> bytes | None:
    """Return the joined parts, or None if one is missing or altered."""
    parts = []
    for part in manifest["parts"]:
        path = folder / part["name"]
        content = path.read_bytes() if path.is_file() else b""
        if hashlib.sha256(content).hexdigest() != part["sha256"]:
            return None
        parts.append(content)
    return b"".join(parts)
