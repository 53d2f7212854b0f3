"""Which family serves which diffusers pipeline class, without importing any of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from models.weights import WeightsError, read_json

if TYPE_CHECKING:
    from pathlib import Path

# Pipeline class in model_index.json -> module under models.families.
FAMILIES: Final = {
    "StableDiffusionPipeline": "stable_diffusion",
    "StableDiffusionImg2ImgPipeline": "stable_diffusion",
    "StableDiffusionInpaintPipeline": "stable_diffusion",
}


def family_of(folder: Path) -> str:
    """Return the family that serves the pipeline in `folder`.

    Raises WeightsError if `folder` is not a diffusers pipeline folder or its class has no family.
    """
    index = folder / "model_index.json"
    if not index.is_file():
        raise WeightsError(
            f"{folder} is not a diffusers pipeline folder: it has no model_index.json."
        )
    pipeline_class = read_json(index).get("_class_name")
    if pipeline_class not in FAMILIES:
        supported = ", ".join(sorted(FAMILIES))
        raise WeightsError(
            f"{folder} holds a {pipeline_class}, which is not supported; supported: {supported}."
        )
    return FAMILIES[pipeline_class]
