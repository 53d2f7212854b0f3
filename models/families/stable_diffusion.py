"""Stable Diffusion 1.x and 2.x, and every model of the same shape, the embedded one among them."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import numpy as np

from models.facts import read_facts
from models.schedules.catalog import compile_solver, scheduler_names
from models.schedules.config import NoiseScheduleConfig
from models.spec import LatentGeometry, ModelSpec, SamplingDefaults
from models.tokenizer import ClipTokenizer
from models.weights import WeightsError, read_json

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from models.interface import Array
    from models.runners.interface import Runner
    from models.schedules.solvers import SolverTable

# At most 30 MB of Stable Diffusion 1.5's embeddings.
_PROMPT_CACHE_ENTRIES = 128
# Without a list of its own a model is offered its native square, and the pictures that keep one
# side and lengthen the other, which is how far such networks stretch before they draw things twice.
_MAX_ASPECT = 1.5


class StableDiffusion:
    """Implements models.interface.DiffusionModel for the StableDiffusionPipeline layout.

    With a UNet that reads masks, the StableDiffusionInpaintPipeline layout.
    """

    def __init__(
        self,
        spec: ModelSpec,
        runner: Runner,
        tokenizer: ClipTokenizer,
        schedule: NoiseScheduleConfig,
        scaling_factor: float,
    ) -> None:
        self.spec = spec
        self.arrays = runner.arrays
        self._runner = runner
        self._tokenizer = tokenizer
        self._schedule = schedule
        self._scaling_factor = scaling_factor
        self.can_encode_image = runner.has_vae_encoder
        self.footprint = runner.footprint
        self._prompt_cache: OrderedDict[str, Array] = OrderedDict()

    def count_tokens(self, text: str) -> int:
        """Return the number of tokens of `text` without special tokens; thread-safe."""
        return self._tokenizer.count(text)

    def encode_prompt(self, text: str) -> Array:
        """Return (1, T, D) embeddings: the last hidden state after the final layer norm.

        The result is shared with later calls for the same text and must not be changed.
        """
        cached = self._prompt_cache.get(text)
        if cached is None:
            cached = self._runner.text_encoder(self._tokenizer.encode(text))
            self._prompt_cache[text] = cached
            if len(self._prompt_cache) > _PROMPT_CACHE_ENTRIES:
                self._prompt_cache.popitem(last=False)
        self._prompt_cache.move_to_end(text)
        return cached

    def compile_solver(self, scheduler: str, num_inference_steps: int) -> SolverTable:
        """Compile the public scheduler name; see DiffusionModel.compile_solver."""
        return compile_solver(scheduler, num_inference_steps, self._schedule)

    def encode_image(
        self, pixels: NDArray[np.uint8], blank: NDArray[np.bool_] | None = None
    ) -> Array:
        """Return the latents (R, C, h, w) of RGB pixels; see DiffusionModel.encode_image.

        One picture at a time, for the reasons that `decode` has. Raises WeightsError without an
        encoder.
        """
        values = pixels.astype(np.float32) / np.float32(255) * np.float32(2) - np.float32(1)
        if blank is not None:
            values[blank] = 0.0
        planes = values.transpose(0, 3, 1, 2)
        return self.arrays.concat([self._encode_one(plane[None]) for plane in planes])

    def denoise(
        self,
        latents: Array,
        timesteps: NDArray[np.float32],
        prompt_embeds: Array,
        inpainting: Array | None = None,
    ) -> Array:
        """Return the raw prediction (R, C, h, w); see DiffusionModel.denoise."""
        if self.spec.takes_mask:
            beside = self._nothing_kept(latents.shape) if inpainting is None else inpainting
            latents = self.arrays.concat([latents, beside], axis=1)
        return self._runner.unet(latents, timesteps, prompt_embeds)

    def decode(self, latents: Array) -> NDArray[np.uint8]:
        """Return RGB pixels (R, H, W, 3), rounded as diffusers' image processor rounds them.

        One picture at a time: the autoencoder's memory grows with the pixels, and a picture's bits
        then cannot depend on which others finished in the same tick.
        """
        pictures = [self._decode_one(latents[i : i + 1]) for i in range(len(latents))]
        return np.concatenate(pictures)

    def close(self) -> None:
        """Drop the cached embeddings and free the runner."""
        self._prompt_cache.clear()
        self._runner.close()

    def _encode_one(self, planes: NDArray[np.float32]) -> Array:
        moments = self._runner.vae_encoder(self.arrays.from_numpy(planes))
        mean = moments[:, : self.spec.latent.channels]
        return mean * self._scaling_factor

    def _nothing_kept(self, shape: tuple[int, ...]) -> Array:
        """Return the mask and kept latents of a picture that is drawn from nothing."""
        rows, _, height, width = shape
        factor = self.spec.latent.factor
        empty = np.zeros((1, height * factor, width * factor, 3), np.uint8)
        kept = self.encode_image(empty, blank=np.ones(empty.shape[:3], np.bool_))
        mask = self.arrays.from_numpy(np.ones((rows, 1, height, width), np.float32))
        return self.arrays.concat([mask, self.arrays.concat([kept] * rows)], axis=1)

    def _decode_one(self, latents: Array) -> NDArray[np.uint8]:
        pixels = self.arrays.to_numpy(self._runner.vae_decoder(latents / self._scaling_factor))
        unit = np.clip(pixels * np.float32(0.5) + np.float32(0.5), 0.0, 1.0)
        rgb: NDArray[np.uint8] = np.rint(unit * np.float32(255)).astype(np.uint8)
        return rgb.transpose(0, 2, 3, 1)


def read_spec(folder: Path, model_id: str, revision: str) -> ModelSpec:
    """Return the spec of a pipeline folder from its configuration files alone.

    model_id: used as it is. Raises WeightsError if a configuration asks for something that this
    family does not do.
    """
    unet = read_json(folder / "unet/config.json")
    vae = read_json(folder / "vae/config.json")
    _check_configs(folder, unet, read_json(folder / "text_encoder/config.json"))
    latent, native_px, step_px = _read_geometry(folder, unet, vae)
    facts = read_facts(folder)
    sizes_px = facts.sizes_px or _common_sizes(native_px, step_px)
    schedule = _read_schedule(folder)
    schedulers = scheduler_names(schedule)
    spec = ModelSpec(
        model_id=model_id,
        revision=revision,
        family="stable_diffusion",
        latent=latent,
        sizes_px=sizes_px,
        default_size_px=facts.default_size_px or sizes_px[0],
        max_prompt_tokens=_read_tokenizer(folder).window - 2,
        prediction_type=schedule.prediction_type,
        schedulers=schedulers,
        defaults=facts.defaults or _common_defaults(schedulers),
        card=facts.card,
        takes_mask=unet["in_channels"] != latent.channels,
    )
    _check_spec(folder, spec, step_px)
    return spec


def build(folder: Path, spec: ModelSpec, runner: Runner) -> StableDiffusion:
    """Return the model of `folder`, whose networks `runner` has loaded.

    Raises WeightsError for an inpainting model without an encoder, which could draw nothing.
    """
    if spec.takes_mask and not runner.has_vae_encoder:
        raise WeightsError(f"{folder}: an inpainting model needs its autoencoder's encoder.")
    vae = read_json(folder / "vae/config.json")
    return StableDiffusion(
        spec=spec,
        runner=runner,
        tokenizer=_read_tokenizer(folder),
        schedule=_read_schedule(folder),
        scaling_factor=float(vae.get("scaling_factor", 0.18215)),
    )


def _read_geometry(
    folder: Path, unet: dict[str, Any], vae: dict[str, Any]
) -> tuple[LatentGeometry, int, int]:
    """Return the geometry, the native side, and what every side must be a multiple of, in px."""
    try:
        factor = 2 ** (len(vae["block_out_channels"]) - 1)
        latent = LatentGeometry(channels=int(unet["out_channels"]), factor=factor)
        native_px = int(unet["sample_size"]) * factor
        step_px = factor * 2 ** (len(unet["block_out_channels"]) - 1)
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(
            f"{folder}: the unet's or vae's config.json lacks its geometry ({error})."
        ) from error
    return latent, native_px, step_px


def _read_tokenizer(folder: Path) -> ClipTokenizer:
    text_encoder = read_json(folder / "text_encoder/config.json")
    positions = int(text_encoder.get("max_position_embeddings", 77))
    return ClipTokenizer.from_folder(folder / "tokenizer", max_window=positions)


def _read_schedule(folder: Path) -> NoiseScheduleConfig:
    path = folder / "scheduler/scheduler_config.json"
    try:
        return NoiseScheduleConfig.from_dict(read_json(path))
    except ValueError as error:
        raise WeightsError(f"{path} cannot be used: {error}.") from error


def _check_configs(folder: Path, unet: dict[str, Any], text_encoder: dict[str, Any]) -> None:
    """Refuse networks whose inputs this family would not fill."""
    taken, returned = unet.get("in_channels"), unet.get("out_channels")
    # An inpainting network also takes a mask and the latents of what is kept.
    if not isinstance(returned, int) or taken not in (returned, 2 * returned + 1):
        raise WeightsError(
            f"{folder}/unet takes {taken} channels and returns {returned}: neither a text-to-image "
            "nor an inpainting model, which is not supported."
        )
    if unet.get("class_embed_type") or unet.get("addition_embed_type"):
        raise WeightsError(f"{folder}/unet needs class or added embeddings, not supported here.")
    if text_encoder.get("use_attention_mask"):
        raise WeightsError(f"{folder}/text_encoder needs an attention mask, not supported here.")


def _check_spec(folder: Path, spec: ModelSpec, step_px: int) -> None:
    """Refuse facts that contradict the networks."""
    for width_px, height_px in spec.sizes_px:
        if width_px % step_px or height_px % step_px:
            raise WeightsError(
                f"{folder}: size {width_px}x{height_px} is not made of multiples of {step_px}."
            )
    if spec.default_size_px not in spec.sizes_px:
        raise WeightsError(f"{folder}: default_size_px is not one of sizes_px.")
    if spec.defaults.scheduler not in spec.schedulers:
        offered = ", ".join(spec.schedulers)
        raise WeightsError(
            f"{folder}: default scheduler {spec.defaults.scheduler!r} does not fit the model's "
            f"noise schedule; it offers: {offered}."
        )


def _common_defaults(schedulers: tuple[str, ...]) -> SamplingDefaults:
    """Return diffusers' usual defaults with a scheduler that the model's noise schedule allows."""
    if "ddim" in schedulers or not schedulers:
        return SamplingDefaults(guidance_scale=7.5, scheduler="ddim")
    return SamplingDefaults(guidance_scale=7.5, scheduler=schedulers[0])


def _common_sizes(native_px: int, step_px: int) -> tuple[tuple[int, int], ...]:
    """Return the native square first, then landscapes and portraits up to an aspect of 1.5."""
    long_sides_px = range(native_px + step_px, int(native_px * _MAX_ASPECT) + 1, step_px)
    landscapes = [(long_px, native_px) for long_px in long_sides_px]
    portraits = [(native_px, long_px) for long_px in long_sides_px]
    return ((native_px, native_px), *landscapes, *portraits)
