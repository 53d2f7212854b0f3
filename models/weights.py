"""What a pipeline folder holds on disk, and whether it may be trusted.

Nothing here needs torch or the safetensors library: a header is JSON, and ONNX Runtime reads the
tensors itself. Pickles are refused, because reading one runs the code inside it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import struct
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from models.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping

logger = logging.getLogger(__name__)

DIGESTS_FILE = "SHA256SUMS"
FACTS_FILE = "mintmark.json"
VOCABULARY_FILE = "vocabulary.json"
WEIGHT_COMPONENTS = ("text_encoder", "unet", "vae")

_DTYPE_BYTES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "I16": 2, "U16": 2, "F16": 2,
    "BF16": 2, "I32": 4, "U32": 4, "F32": 4, "I64": 8, "U64": 8, "F64": 8,
}  # fmt: skip
# The same bound as the safetensors library; a longer header is an attack or garbage.
_MAX_HEADER_BYTES = 100_000_000
_PICKLE_SUFFIXES = frozenset({".bin", ".ckpt", ".pt", ".pth", ".pkl"})
# A component may carry several variants side by side; the first that exists is used.
_WEIGHT_NAMES = (
    "diffusion_pytorch_model.safetensors",
    "model.safetensors",
    "diffusion_pytorch_model.fp16.safetensors",
    "model.fp16.safetensors",
)
# Files outside the components that decide what a picture looks like.
_SIDE_FILES = (
    "model_index.json",
    "scheduler/scheduler_config.json",
    "tokenizer/merges.txt",
    "tokenizer/special_tokens_map.json",
    "tokenizer/tokenizer.json",
    "tokenizer/tokenizer_config.json",
    "tokenizer/vocab.json",
)


class WeightsError(ModelError):
    """A pipeline folder cannot be used. The message is one sentence that says why."""


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """Where one tensor lies: `offset_bytes` counts from the start of the file."""

    dtype: str
    shape: tuple[int, ...]
    offset_bytes: int
    size_bytes: int


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in `path`. Raises WeightsError if it is missing or not an object."""
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise WeightsError(f"{path} is missing.") from None
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path} cannot be read as JSON: {error}.") from error
    if not isinstance(content, dict):
        raise WeightsError(f"{path} must hold a JSON object.")
    return content


def read_safetensors_header(path: Path) -> dict[str, StoredTensor]:
    """Return every tensor of a safetensors file by name, without reading the tensors.

    Raises WeightsError if the header is damaged, or a tensor lies outside the file or has a size
    that its dtype and shape do not give. Source: the safetensors format description.
    """
    try:
        file_bytes = path.stat().st_size
        with path.open("rb") as file:
            prefix = file.read(8)
            header_bytes = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else -1  # noqa: PLR2004
            if not 0 < header_bytes <= min(_MAX_HEADER_BYTES, file_bytes - 8):
                raise WeightsError(f"{path} is not a safetensors file, or it is cut short.")
            entries = json.loads(file.read(header_bytes))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path} cannot be read as safetensors: {error}.") from error
    if not isinstance(entries, dict):
        raise WeightsError(f"{path} has a safetensors header that is not an object.")
    data_start = 8 + header_bytes
    return {
        name: _stored_tensor(path, name, entry, data_start, file_bytes)
        for name, entry in entries.items()
        if name != "__metadata__"
    }


def _stored_tensor(
    path: Path, name: str, entry: Mapping[str, Any], data_start: int, file_bytes: int
) -> StoredTensor:
    """Check one header entry and return it with its offset counted from the file's start."""
    try:
        dtype, shape = entry["dtype"], tuple(int(side) for side in entry["shape"])
        begin, end = (int(value) for value in entry["data_offsets"])
        expected_bytes = _DTYPE_BYTES[dtype]
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{path} has a malformed entry for tensor {name!r}.") from error
    for side in shape:
        expected_bytes *= side
    if min((begin, *shape)) < 0 or end - begin != expected_bytes or data_start + end > file_bytes:
        raise WeightsError(f"{path}: tensor {name!r} lies outside the file or has a wrong size.")
    return StoredTensor(dtype, shape, data_start + begin, expected_bytes)


def component_weights(component: Path) -> tuple[Path, ...]:
    """Return the safetensors files of one component folder: one file, or a sharded set in order.

    Raises WeightsError if there are none; a folder with pickles only gets told so.
    """
    for name in _WEIGHT_NAMES:
        if (component / name).is_file():
            return (component / name,)
        index = component / f"{name}.index.json"
        if index.is_file():
            weight_map = read_json(index).get("weight_map", {})
            return tuple(component / shard for shard in sorted(set(weight_map.values())))
    if not component.is_dir():
        raise WeightsError(f"{component} is missing: not a complete pipeline folder.")
    pickles = sorted(path.name for path in component.iterdir() if path.suffix in _PICKLE_SUFFIXES)
    if pickles:
        raise WeightsError(
            f"{component} holds only pickled weights ({pickles[0]}); weights must be safetensors, "
            "because reading a pickle runs the code inside it."
        )
    raise WeightsError(f"{component} holds no safetensors weights.")


def check_weights(folder: Path) -> None:
    """Check that every component's safetensors files are there and whole, reading headers only."""
    for component in WEIGHT_COMPONENTS:
        for path in component_weights(folder / component):
            read_safetensors_header(path)


def weights_bytes(folder: Path) -> int:
    """Return the size of the weight files and graphs that a loader reads."""
    paths = [folder / name for name in _loaded_files(folder)]
    return sum(path.stat().st_size for path in paths if path.suffix in (".safetensors", ".onnx"))


def compute_digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 hex digest of every file that loading `folder` reads, by POSIX path."""
    return {name: _file_digest(folder / name) for name in _loaded_files(folder)}


def write_digests(folder: Path) -> Path:
    """Write `SHA256SUMS` (checkable with `sha256sum -c`) for `folder` and return its path."""
    digests = compute_digests(folder)
    target = folder / DIGESTS_FILE
    partial = target.with_suffix(".partial")
    partial.write_text("".join(f"{digest}  {name}\n" for name, digest in sorted(digests.items())))
    partial.replace(target)
    return target


def read_digests(folder: Path) -> dict[str, str] | None:
    """Return the recorded digests by POSIX path, or None when the folder has no `SHA256SUMS`.

    Raises WeightsError on a malformed line or a path that leaves the folder.
    """
    path = folder / DIGESTS_FILE
    if not path.is_file():
        return None
    digests: dict[str, str] = {}
    for line in path.read_text().splitlines():
        digest, separator, name = line.partition("  ")
        relative = PurePosixPath(name)
        is_inside = bool(name) and not relative.is_absolute() and ".." not in relative.parts
        if not separator or len(digest) != hashlib.sha256().digest_size * 2 or not is_inside:
            raise WeightsError(f"{path} has a malformed line: {line[:120]!r}.")
        digests[name] = digest
    return digests


def verify_digests(folder: Path) -> dict[str, str]:
    """Return the digests of all loaded files after comparing them with `SHA256SUMS`.

    A folder without that file is accepted with a warning. Raises WeightsError if a file differs,
    is not listed, or is listed and missing.
    """
    recorded = read_digests(folder)
    actual = compute_digests(folder)
    if recorded is None:
        logger.warning("%s has no %s: its files cannot be verified.", folder, DIGESTS_FILE)
        return actual
    for name in sorted(recorded.keys() | actual.keys()):
        if name not in recorded:
            raise WeightsError(f"{folder / name} is not listed in {DIGESTS_FILE}.")
        if name not in actual and not (folder / name).is_file():
            raise WeightsError(f"{folder / name} is listed in {DIGESTS_FILE} but missing.")
        if name in actual and actual[name] != recorded[name]:
            raise WeightsError(f"{folder / name} does not match its digest in {DIGESTS_FILE}.")
    return actual


def revision_of(digests: Mapping[str, str]) -> str:
    """Return one hex digest over the weights, configurations and tokenizer.

    Graphs are left out (they restate the weights), and so are `mintmark.json` (defaults are the
    request's business) and `vocabulary.json` (it words warnings): equal revisions mean equal
    pixels, whichever runner draws them.
    """
    lines = [
        f"{digest}  {name}\n"
        for name, digest in sorted(digests.items())
        if not name.endswith(".onnx") and name not in (FACTS_FILE, VOCABULARY_FILE)
    ]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _loaded_files(folder: Path) -> list[str]:
    """Return the POSIX paths of the files that exist and that some loader reads, sorted."""
    paths = [folder / name for name in (*_SIDE_FILES, FACTS_FILE, VOCABULARY_FILE)]
    for component in WEIGHT_COMPONENTS:
        weights = component_weights(folder / component)
        paths += [folder / component / "config.json", *weights]
        paths += (folder / component).glob("*.onnx")
        paths += (folder / component).glob("*.safetensors.index.json")
    return sorted({p.relative_to(folder).as_posix() for p in paths if p.is_file()})


def _file_digest(path: Path) -> str:
    """Return the SHA-256 hex digest of a file, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
