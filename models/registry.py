"""Finds a model's folder and builds the model: the one place that picks a family and a runner."""

from __future__ import annotations

import importlib
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from models.facts import read_facts
from models.families.index import family_of
from models.runners.interface import RunnerUnavailable
from models.vocabulary_match import read_vocabulary
from models.weights import (
    WeightsError,
    check_weights,
    compute_digests,
    read_digests,
    revision_of,
    verify_digests,
)

if TYPE_CHECKING:
    from models.interface import DiffusionModel
    from models.options import LoadOptions
    from models.runners.interface import Runner
    from models.spec import ModelSpec

# Never pickles: what a hub repository may add to a folder without anyone here having read it.
_DOWNLOADED = ("*.json", "*.txt", "*.safetensors", "*.onnx", "SHA256SUMS")

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


class _Family(Protocol):
    """What a module of models.families offers."""

    def read_spec(self, folder: Path, model_id: str, revision: str) -> ModelSpec:
        """Return the facts of a pipeline folder, without loading its networks."""

    def build(self, folder: Path, spec: ModelSpec, runner: Runner) -> DiffusionModel:
        """Return the model."""


def read_spec(options: LoadOptions) -> ModelSpec:
    """Return the spec of the model that `load_model` would load, from its files alone.

    options: of one model; `also` is not read, see `LoadOptions.each`.

    Raises WeightsError as `load_model` does.
    """
    return _read_spec(_find_folder(options), options)


def load_model(options: LoadOptions) -> DiffusionModel:
    """Check the folder's files, load its networks and return the model, ready to use.

    Raises WeightsError if the folder is missing, incomplete, altered, pickled or of an unsupported
    class, and RunnerUnavailable if the runner's libraries or its device are not there.
    """
    folder = _find_folder(options)
    spec = _read_spec(folder, options)
    return _family(folder).build(folder, spec, _open_runner(folder, options))


def _read_spec(folder: Path, options: LoadOptions) -> ModelSpec:
    family = _family(folder)
    check_weights(folder)
    model_id = options.model_id or read_facts(folder).model_id or _default_id(folder, options)
    spec = family.read_spec(folder, model_id, _revision(folder, options))
    return replace(spec, vocabulary=read_vocabulary(folder, spec.card))


def _revision(folder: Path, options: LoadOptions) -> str:
    """Return the digest over the weights, recomputed unless verification is off."""
    if options.verify_digests:
        return revision_of(verify_digests(folder))
    return revision_of(read_digests(folder) or compute_digests(folder))


def _default_id(folder: Path, options: LoadOptions) -> str:
    """Return the hub id of a downloaded model, else the folder's name."""
    is_local = options.path is None or Path(options.path).is_dir()
    return folder.resolve().name if is_local else str(options.path)


def _find_folder(options: LoadOptions) -> Path:
    """Return the local folder of the model, downloading a hub id if that is allowed."""
    if options.path is None:
        return options.embedded_folder()
    if Path(options.path).is_dir():
        return Path(options.path)
    if not _HUB_ID.fullmatch(options.path):
        raise WeightsError(f"There is no model folder {options.path}.")
    if not options.allow_download:
        raise WeightsError(
            f"There is no folder {options.path}; if it is a hub id, allow downloads to fetch it."
        )
    return _download(options.path, options.hub_revision)


def _download(hub_id: str, hub_revision: str | None) -> Path:
    """Return the hub's snapshot of a repository, from the local cache if it is there."""
    # Imported here: most servers never download, and the import costs a second.
    from huggingface_hub import snapshot_download  # noqa: PLC0415
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError  # noqa: PLC0415

    try:
        folder = snapshot_download(hub_id, revision=hub_revision, allow_patterns=list(_DOWNLOADED))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        raise WeightsError(f"{hub_id} cannot be downloaded: {error}") from error
    return Path(folder)


def _family(folder: Path) -> _Family:
    """Import the family that serves the folder's pipeline class."""
    return cast("_Family", importlib.import_module(f"models.families.{family_of(folder)}"))


def _open_runner(folder: Path, options: LoadOptions) -> Runner:
    """Load the networks with the chosen runner; each is imported only when it is chosen."""
    if options.runner == "onnx":
        from models.runners.onnx_runner import OnnxRunner  # noqa: PLC0415

        return OnnxRunner(folder, options)
    try:
        from models.runners.torch_runner import TorchRunner  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise RunnerUnavailable(
            f"The torch runner needs {error.name}: pip install 'mintmark[torch]'."
        ) from error
    return TorchRunner(folder, options)
