"""Stage release: finished networks become a pipeline folder that the service loads."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer

from models.options import LoadOptions
from models.registry import load_model
from models.runners.export import export_folder
from models.training.card import make_facts
from models.training.diffusion import make_scheduler
from models.training.drawing import Order, draw_pictures
from models.training.errors import TrainingError
from models.training.storage import new_folder
from models.vocabulary_match import write_nearest
from models.weights import FACTS_FILE, WeightsError, verify_digests

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from models.training.art import Art
    from models.training.card import Release
    from models.training.recipe import Recipe

_OLD_TOKENIZER_FILES: Final = ("vocab.json", "merges.txt")
_TRIAL_PROMPT: Final = "a red apple"


@dataclass(frozen=True, slots=True)
class Parts:
    """What a release is made of.

    The networks lie where diffusers and transformers saved them. nearest: the content of
    `vocabulary.json` (models.training.nearest); None leaves the file out.
    """

    vae: Path
    text_encoder: Path
    tokenizer: Path
    unet: Path
    nearest: Mapping[str, str | None] | None = None


def release_pipeline(
    parts: Parts, release: Release, recipe: Recipe, art: Art, target: Path
) -> Path:
    """Write a complete pipeline folder: half precision, ONNX graphs, facts, digests; return it.

    The folder takes the place of `target` only after a picture was drawn with it by the service's
    loader. Raises TrainingError if a part is damaged or does not fit, or the folder cannot be
    written; `target` then stays as it was.
    """
    with new_folder(target) as folder:
        try:
            pipeline = _assemble(parts)
        except (OSError, ValueError, RuntimeError) as error:
            raise TrainingError(
                f"The networks cannot be put together: {error}. Run their stages again."
            ) from error
        networks = (pipeline.vae, pipeline.text_encoder, pipeline.unet)
        count = sum(p.numel() for network in networks for p in network.parameters())
        _check_finite(networks)
        pipeline.save_pretrained(str(folder), safe_serialization=True)
        _forget_origins(folder)
        for name in _OLD_TOKENIZER_FILES:
            shutil.copy(parts.tokenizer / name, folder / "tokenizer" / name)
        facts = make_facts(release, recipe, art, count)
        (folder / FACTS_FILE).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
        if parts.nearest is not None:
            write_nearest(folder, parts.nearest)
        try:
            export_folder(folder)
            _open_to_readers(folder)
            _draw_once(folder)
        except WeightsError as error:
            raise TrainingError(f"The assembled model cannot be used: {error}") from error
    return target


def _open_to_readers(folder: Path) -> None:
    """Let every user read the files: safetensors writes them for their owner alone.

    An image is built by one user and served by another.
    """
    for path in folder.rglob("*"):
        if path.is_file():
            path.chmod(0o644)


def install_pipeline(source: Path, target: Path) -> None:
    """Copy a released folder over `target` (such as models/embedded), keeping MODEL_CARD.md.

    Raises TrainingError if `source` is not a complete release or `target` cannot be written.
    """
    if not (source / FACTS_FILE).is_file():
        raise TrainingError(
            f"There is no release in {source}: run `python -m models.training release` first."
        )
    try:
        verify_digests(source)
    except WeightsError as error:
        raise TrainingError(f"{error} Run `python -m models.training release` again.") from error
    card = target / "MODEL_CARD.md"
    with new_folder(target) as folder:
        shutil.copytree(source, folder, dirs_exist_ok=True)
        if card.is_file():
            shutil.copy(card, folder / card.name)


def _assemble(parts: Parts) -> Any:
    """Return diffusers' pipeline of the parts, in half precision."""
    vae: Any = AutoencoderKL
    unet: Any = UNet2DConditionModel
    pipeline: Any = StableDiffusionPipeline
    return pipeline(
        vae=vae.from_pretrained(str(parts.vae), torch_dtype=torch.float16),
        text_encoder=CLIPTextModel.from_pretrained(str(parts.text_encoder), dtype=torch.float16),
        tokenizer=CLIPTokenizer.from_pretrained(str(parts.tokenizer)),
        unet=unet.from_pretrained(str(parts.unet), torch_dtype=torch.float16),
        scheduler=make_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def _forget_origins(folder: Path) -> None:
    """Remove the paths of this machine from the configurations."""
    for path in folder.glob("*/config.json"):
        config = json.loads(path.read_text(encoding="utf-8"))
        config.pop("_name_or_path", None)
        path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _check_finite(networks: tuple[Any, ...]) -> None:
    """Refuse weights that half precision cannot hold."""
    for network in networks:
        for name, values in network.named_parameters():
            if not torch.isfinite(values).all():
                raise TrainingError(
                    f"The weight {name} is not finite in half precision: train that network again "
                    "with a lower learning rate."
                )


def _draw_once(folder: Path) -> None:
    """Draw one picture the way the service does; a model that cannot is no release."""
    model = load_model(LoadOptions(path=str(folder)))
    try:
        orders = [Order(_TRIAL_PROMPT, seed=0)]
        size_px = model.spec.default_size_px
        pictures = list(draw_pictures(model, orders, size_px, model.spec.defaults, 1))
    except FloatingPointError as error:
        raise TrainingError(f"The assembled model draws nothing: {error}. Train on.") from error
    finally:
        model.close()
    if pictures[0].shape != (1, size_px[1], size_px[0], 3):
        raise TrainingError(f"The assembled model draws {pictures[0].shape}, not {size_px}.")
