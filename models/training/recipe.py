"""The recipe: every number that decides how the embedded model turns out, read from one file."""

from __future__ import annotations

import hashlib
import json
import tomllib
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from models.training.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

RECIPE_FILE: Final = Path(__file__).with_name("recipe.toml")
SMOKE_RECIPE_FILE: Final = Path(__file__).with_name("recipe_smoke.toml")

Stage = Literal["autoencoder", "text", "denoiser", "few_step", "evaluation"]
STAGES: Final[tuple[Stage, ...]] = get_args(Stage)
# What each stage's result depends on. Change one of these and its checkpoints are of no use.
_DEPENDS_ON: Final[dict[Stage, tuple[str, ...]]] = {
    "autoencoder": ("data", "autoencoder"),
    "text": ("data", "text"),
    "denoiser": ("data", "autoencoder", "text", "denoiser"),
    "few_step": ("data", "autoencoder", "text", "denoiser", "few_step"),
    "evaluation": ("data", "evaluation"),
}
# How long to train and how often to look: changing these continues the same run.
_NOT_IN_DIGEST: Final = frozenset({"steps", "sample_every_steps", "checkpoint_every_s", "compile"})

_CONFIG = ConfigDict(extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True, slots=True, kw_only=True, config=_CONFIG)
class DataRecipe:
    """What is drawn, and how it is varied.

    art_folder: "" for the locked art sets, else a folder of drawings, `<style>/<subject>.svg`,
    relative to the repository. subjects: how many of the vocabulary, from its start; 0 is all.
    resolution_px: side of the stored rasters; size_px: side of a training picture.
    held_out_share: of the (subject, style) pairs, kept out of training. The other shares are those
    of training pictures that are recoloured, scenes of two, named by a synonym, or mirrored.
    scale_min, scale_max: the object's side, as a share of the picture's.
    """

    size_px: int = Field(ge=16, le=512)
    art_folder: str = ""
    subjects: int = Field(default=0, ge=0)
    resolution_px: int = Field(default=128, ge=16, le=1024)
    held_out_share: float = Field(default=0.05, ge=0, lt=1)
    recolour_share: float = Field(default=0.3, ge=0, le=1)
    pairs_share: float = Field(default=0.1, ge=0, le=1)
    synonym_share: float = Field(default=0.3, ge=0, le=1)
    flip_share: float = Field(default=0.5, ge=0, le=1)
    scale_min: float = Field(default=0.62, gt=0, le=1)
    scale_max: float = Field(default=0.92, gt=0, le=1)
    seed: int = Field(default=1, ge=0)


@dataclass(frozen=True, slots=True, kw_only=True, config=_CONFIG)
class TrainingRecipe:
    """How one network is optimised: AdamW with warm-up, a flat part, and a cosine down to zero.

    batch: pictures per step. constant_share: where the cosine starts, as a share of `steps`.
    ema_decay: of the weights that are kept. clip_norm: of the gradient. compile: torch.compile,
    worth its two minutes on long runs only. checkpoint_every_s: seconds of work that an
    interruption may cost.
    """

    steps: int = Field(ge=1)
    batch: int = Field(ge=1)
    learning_rate: float = Field(gt=0)
    warmup_steps: int = Field(default=100, ge=0)
    constant_share: float = Field(default=0.5, ge=0, le=1)
    ema_decay: float = Field(default=0.999, ge=0, lt=1)
    weight_decay: float = Field(default=0.01, ge=0)
    beta1: float = Field(default=0.9, ge=0, lt=1)
    beta2: float = Field(default=0.99, ge=0, lt=1)
    clip_norm: float = Field(default=1.0, gt=0)
    compile: bool = False
    sample_every_steps: int = Field(default=1000, ge=1)
    checkpoint_every_s: float = Field(default=300, gt=0)
    seed: int = Field(default=1, ge=0)


@dataclass(frozen=True, slots=True, kw_only=True, config=_CONFIG)
class AutoencoderRecipe:
    """AutoencoderKL without attention, and its loss.

    latent_noise: standard deviation of the noise added to latents of unit variance. The weights
    multiply L1, squared error, finite differences, and L1 on 8x8 means of RGB and of chroma: group
    norm makes colour the last thing learnt, and a lost hue caps everything that follows.
    smoothness_weight multiplies the squared differences of neighbouring latents: an encoder that
    trains for long puts ever finer detail into them, which a denoiser then has to learn.
    """

    training: TrainingRecipe
    block_out_channels: tuple[int, ...] = Field(min_length=1)
    layers_per_block: int = Field(default=1, ge=1)
    latent_channels: Literal[4] = 4
    norm_num_groups: int = Field(default=2, ge=1)
    latent_noise: float = Field(default=0.07, ge=0, lt=1)
    l1_weight: float = Field(default=1.0, ge=0)
    mse_weight: float = Field(default=1.0, ge=0)
    gradient_weight: float = Field(default=0.7, ge=0)
    low_pass_weight: float = Field(default=0.5, ge=0)
    chroma_weight: float = Field(default=0.5, ge=0)
    unit_variance_weight: float = Field(default=0.1, ge=0)
    smoothness_weight: float = Field(default=0.03, ge=0)

    @property
    def factor(self) -> int:
        """Return how many pixels make one latent, per side."""
        return int(2 ** (len(self.block_out_channels) - 1))


@dataclass(frozen=True, slots=True, kw_only=True, config=_CONFIG)
class TextRecipe:
    """A CLIP text encoder with a byte-level BPE of its own, and how it is initialised.

    window: tokens of a prompt, begin and end included. teacher: whether a sentence model is
    distilled; without it, or if it cannot be had, the encoder learns to name what captions say.
    general_share: of a distillation batch that are words of the language instead of captions.
    naming_noise: on the states that names are read from, as a share of their own size.
    """

    training: TrainingRecipe
    vocab_size: int = Field(default=3200, ge=600)
    window: int = Field(default=32, ge=8, le=77)
    hidden_size: int = Field(default=192, ge=8)
    num_layers: int = Field(default=3, ge=1)
    num_heads: int = Field(default=4, ge=1)
    intermediate_size: int = Field(default=640, ge=8)
    teacher: bool = True
    general_share: float = Field(default=0.5, ge=0, le=1)
    naming_noise: float = Field(default=2.0, ge=0)
    corpus_captions: int = Field(default=20_000, ge=100)


@dataclass(frozen=True, slots=True, kw_only=True, config=_CONFIG)
class DenoiserRecipe:
    """UNet2DConditionModel, v-prediction on a schedule that ends in pure noise.

    attention_from_level: the first resolution level with cross-attention. head_width: channels of
    one attention head. high_noise_share: of the training steps drawn from `high_noise_from` of the
    schedule up, at the start and at the end of training: layout is decided there, and it is what a
    small model learns last. min_snr_gamma, weight_floor: Min-SNR weights and their lower bound.
    bank_size: pictures encoded at once, drawn anew every `bank_steps`. guidance_*, sample_steps:
    the release's defaults, used for sample grids too.
    """

    training: TrainingRecipe
    block_out_channels: tuple[int, ...] = Field(min_length=1)
    attention_from_level: int = Field(default=1, ge=0)
    layers_per_block: int = Field(default=1, ge=1)
    head_width: int = Field(default=32, ge=1)
    norm_num_groups: int = Field(default=16, ge=1)
    caption_dropout: float = Field(default=0.1, ge=0, lt=1)
    text_learning_rate_factor: float = Field(default=0.5, ge=0, le=1)
    high_noise_share: tuple[float, float] = (0.7, 0.55)
    high_noise_from: float = Field(default=0.55, ge=0, lt=1)
    min_snr_gamma: float = Field(default=5.0, gt=0)
    weight_floor: float = Field(default=0.6, ge=0)
    bank_size: int = Field(default=14_080, ge=1)
    bank_steps: int = Field(default=2_000, ge=1)
    guidance_scale: float = Field(default=4.0, ge=1)
    guidance_rescale: float = Field(default=0.5, ge=0, le=1)
    sample_steps: int = Field(default=20, ge=1)


@dataclass(frozen=True, slots=True, kw_only=True, config=_CONFIG)
class FewStepRecipe:
    """Multistep consistency distillation: the denoiser's guided path in `sample_steps` steps.

    teacher_steps: DDIM steps of the path that is copied, a multiple of `sample_steps`.
    target_decay: of the averaged student that supplies the targets.
    """

    training: TrainingRecipe
    sample_steps: int = Field(default=4, ge=1)
    teacher_steps: int = Field(default=20, ge=1)
    target_decay: float = Field(default=0.95, ge=0, lt=1)

    @model_validator(mode="after")
    def _check_steps(self) -> Self:
        if self.teacher_steps % self.sample_steps or self.teacher_steps == self.sample_steps:
            raise ValueError("teacher_steps must be a multiple of sample_steps, and more")
        return self


@dataclass(frozen=True, slots=True, kw_only=True, config=_CONFIG)
class EvaluationRecipe:
    """How the result is judged.

    prompts: pictures of each measured set. frechet_pictures: of each side of the distance.
    classifier_*: training of the judge, on the same renders.
    """

    prompts: int = Field(default=512, ge=1)
    frechet_pictures: int = Field(default=2048, ge=2)
    num_inference_steps: int = Field(default=20, ge=1)
    batch: int = Field(default=64, ge=1)
    classifier_steps: int = Field(default=4000, ge=1)
    classifier_batch: int = Field(default=64, ge=1)
    seed: int = Field(default=1, ge=0)


@dataclass(frozen=True, slots=True, kw_only=True, config=_CONFIG)
class Recipe:
    """Everything together. model_id: what the released model is called."""

    model_id: str = Field(min_length=1, max_length=200)
    data: DataRecipe
    autoencoder: AutoencoderRecipe
    text: TextRecipe
    denoiser: DenoiserRecipe
    few_step: FewStepRecipe
    evaluation: EvaluationRecipe

    @model_validator(mode="after")
    def _check_sizes(self) -> Self:
        step_px = self.autoencoder.factor * 2 ** (len(self.denoiser.block_out_channels) - 1)
        if self.data.size_px % step_px:
            raise ValueError(f"data.size_px must be a multiple of {step_px} for these networks")
        return self

    def digest(self, stage: Stage) -> str:
        """Return a hex digest over all that decides how `stage` turns out, but not how long."""
        parts = {name: _fixed(asdict(getattr(self, name))) for name in _DEPENDS_ON[stage]}
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def load_recipe(path: Path, profile: str | None = None) -> Recipe:
    """Return the recipe in a TOML file.

    profile: the table of `profiles` to lay over the common part; None takes the file's own
    `default_profile`, if it has profiles at all. Raises TrainingError for a file that cannot be
    read, an unknown profile or key, or a value out of range.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise TrainingError(f"The recipe {path} cannot be read: {error}.") from error
    profiles = table.pop("profiles", {})
    chosen = profile or table.pop("default_profile", None)
    table.pop("default_profile", None)
    if chosen is not None and chosen not in profiles:
        offered = ", ".join(sorted(profiles)) or "none"
        raise TrainingError(f"{path} has no profile {chosen!r}; it has: {offered}.")
    merged = _merged(table, profiles[chosen]) if chosen is not None else table
    try:
        return TypeAdapter(Recipe).validate_python(merged)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the whole"
        raise TrainingError(f"{path} is not valid at {place}: {first['msg']}.") from error


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with the values of `over`, table by table."""
    merged = dict(base)
    for name, value in over.items():
        is_table = isinstance(value, dict) and isinstance(merged.get(name), dict)
        merged[name] = _merged(merged[name], value) if is_table else value
    return merged


def _fixed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that belong in a digest, nested tables included."""
    return {
        name: _fixed(value) if isinstance(value, dict) else value
        for name, value in values.items()
        if name not in _NOT_IN_DIGEST
    }
