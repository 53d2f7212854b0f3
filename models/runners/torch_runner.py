"""Computes a pipeline folder's networks with torch: float32, bfloat16 or float16, CPU or CUDA."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextModel
from transformers.utils import logging as transformers_logging

from models.errors import ModelOutOfMemory
from models.interface import Footprint
from models.runners.interface import RunnerUnavailable
from models.weights import WeightsError, component_weights, read_json, weights_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from models.interface import ArrayBackend
    from models.options import LoadOptions

Network = TypeVar("Network")
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class TorchArrays:
    """Implements models.interface.ArrayBackend with float32 tensors on one device."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def zeros(self, shape: tuple[int, ...]) -> torch.Tensor:
        """Return a zero tensor on the device."""
        return torch.zeros(shape, dtype=torch.float32, device=self._device)

    def from_numpy(self, values: NDArray[np.float32]) -> torch.Tensor:
        """Copy host values to the device."""
        return torch.tensor(values, dtype=torch.float32, device=self._device)

    def to_numpy(self, values: torch.Tensor) -> NDArray[np.float32]:
        """Copy device values to the host."""
        return values.detach().to("cpu", torch.float32, copy=True).numpy()

    def index(self, indices: Sequence[int]) -> torch.Tensor:
        """Return `indices` as an int64 tensor on the device."""
        return torch.tensor(list(indices), dtype=torch.int64, device=self._device)

    def concat(self, parts: Sequence[torch.Tensor], axis: int = 0) -> torch.Tensor:
        """Join along `axis`."""
        return torch.cat(list(parts), axis)

    def row_std(self, values: torch.Tensor) -> torch.Tensor:
        """Return each row's standard deviation, divided by n - 1, as (rows, 1, 1, 1).

        On the CPU row by row: torch splits one large reduction over threads by the whole shape,
        so the same row could round differently beside other rows.
        """
        if self._device.type != "cpu":
            return values.std(dim=(1, 2, 3), keepdim=True)
        return torch.stack([row.std() for row in values])[:, None, None, None]


class TorchRunner:
    """Implements models.runners.interface.Runner.

    The seam is float32; `dtype` is what the networks compute in. Loading a runner sets torch's
    thread count and turns off TF32 for the whole process. Raises RunnerUnavailable without CUDA
    when CUDA is asked for, WeightsError for a folder without safetensors.
    """

    has_vae_encoder = True

    def __init__(self, folder: Path, options: LoadOptions) -> None:
        if options.device == "cuda" and not torch.cuda.is_available():
            raise RunnerUnavailable("device 'cuda' was asked for, but torch finds no CUDA device.")
        if options.num_threads is not None:
            torch.set_num_threads(options.num_threads)
        # float32 means float32: TF32 keeps ten bits of the mantissa.
        torch.backends.cudnn.allow_tf32 = False
        self._device = torch.device(options.device)
        self._dtype = _DTYPES[options.dtype]
        self.arrays: ArrayBackend = TorchArrays(self._device)
        self._text_encoder: Any = self._load(CLIPTextModel, folder / "text_encoder", self._dtype)
        self._unet: Any = self._load(UNet2DConditionModel, folder / "unet", self._dtype)
        # Many autoencoders overflow in float16 and say so; bfloat16 has float32's range.
        is_narrow = self._dtype == torch.float16
        force_upcast = read_json(folder / "vae/config.json").get("force_upcast", True)
        self._vae_dtype = torch.float32 if is_narrow and force_upcast else self._dtype
        self._vae: Any = self._load(AutoencoderKL, folder / "vae", self._vae_dtype)
        networks = (self._text_encoder, self._unet, self._vae)
        self.footprint = Footprint(weights_bytes(folder), sum(map(_memory_bytes, networks)))

    def text_encoder(self, input_ids: NDArray[np.int64]) -> torch.Tensor:
        """Return the last hidden state (R, T, D); see Runner.text_encoder."""
        ids = torch.tensor(input_ids, dtype=torch.int64, device=self._device)
        return self._compute(lambda: self._text_encoder(input_ids=ids, return_dict=False)[0])

    def unet(
        self, sample: torch.Tensor, timestep: NDArray[np.float32], prompt_embeds: torch.Tensor
    ) -> torch.Tensor:
        """Return the raw prediction (R, C, h, w); see Runner.unet."""
        times = torch.tensor(timestep, dtype=torch.float32, device=self._device)
        return self._compute(
            lambda: self._unet(
                sample.to(self._dtype), times, prompt_embeds.to(self._dtype), return_dict=False
            )[0]
        )

    def vae_decoder(self, latents: torch.Tensor) -> torch.Tensor:
        """Return pixels (R, 3, H, W); see Runner.vae_decoder."""
        return self._compute(
            lambda: self._vae.decode(latents.to(self._vae_dtype), return_dict=False)[0]
        )

    def vae_encoder(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return the posterior's moments (R, 2C, h, w); see Runner.vae_encoder."""
        return self._compute(
            lambda: self._vae.encode(pixels.to(self._vae_dtype), return_dict=False)[0].parameters
        )

    def close(self) -> None:
        """Drop the networks and give CUDA's cached memory back."""
        self._text_encoder = self._unet = self._vae = None
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def _load(self, cls: type[Network], component: Path, dtype: torch.dtype) -> Any:
        network: Any = load_component(cls, component, dtype)
        return network.to(self._device)

    def _compute(self, call: Callable[[], torch.Tensor]) -> torch.Tensor:
        """Run one forward pass without gradients and return it in float32."""
        try:
            # Not inference_mode: its tensors refuse the in-place writes that guidance makes.
            with torch.no_grad():
                return call().float()
        except torch.OutOfMemoryError as error:
            raise ModelOutOfMemory("The device has too little memory for this batch.") from error


def _memory_bytes(network: torch.nn.Module) -> int:
    tensors = [*network.parameters(), *network.buffers()]
    return sum(tensor.nbytes for tensor in tensors)


def load_component(cls: type[Network], component: Path, dtype: torch.dtype) -> Network:
    """Return the network in `component`, in evaluation mode, on the CPU, computing in `dtype`.

    cls: a diffusers or transformers model class. Raises WeightsError without safetensors weights,
    or if they do not fill the network: the libraries would only warn, and draw the rest at random.
    """
    options: dict[str, Any] = {"use_safetensors": True, "local_files_only": True}
    if any(".fp16." in path.name for path in component_weights(component)):
        options["variant"] = "fp16"
    if cls.__module__.startswith("diffusers."):
        # Without accelerate diffusers would only warn and then do the same.
        options |= {"low_cpu_mem_usage": False, "torch_dtype": dtype}
    else:
        # A service's log is no place for a progress bar.
        transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        options["dtype"] = dtype
    loader: Any = cls
    try:
        model, loading = loader.from_pretrained(str(component), output_loading_info=True, **options)
    except (OSError, RuntimeError, ValueError) as error:
        raise WeightsError(f"{component} cannot be loaded: {error}") from error
    if loading["missing_keys"]:
        missing = sorted(loading["missing_keys"])
        raise WeightsError(f"{component} lacks weights of the network, such as {missing[0]}.")
    network: Network = model.eval().requires_grad_(requires_grad=False)
    return network
