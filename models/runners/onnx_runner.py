"""Computes a pipeline folder's networks with ONNX Runtime, in float32, without torch.

On CUDA the latents still live on the host: a step moves them and the prompt embeddings over the
bus (0.3 MB a row for a 512 px Stable Diffusion), which is little beside its network call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from models.arrays import NumpyArrays
from models.errors import ModelOutOfMemory
from models.interface import Footprint
from models.runners import graphs
from models.runners.interface import RunnerUnavailable
from models.weights import WeightsError, weights_bytes

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from models.interface import Array, ArrayBackend
    from models.options import LoadOptions

_LOAD_ERRORS = (
    ort_errors.Fail,
    ort_errors.InvalidGraph,
    ort_errors.InvalidProtobuf,
    ort_errors.InvalidArgument,
    ort_errors.NoSuchFile,
    ort_errors.NotImplemented,
    ort_errors.RuntimeException,
)
_OUT_OF_MEMORY_SIGNS = ("Failed to allocate memory", "bad allocation", "out of memory")


class OnnxRunner:
    """Implements models.runners.interface.Runner.

    Raises WeightsError if a graph is missing or does not load, RunnerUnavailable if CUDA is asked
    for and this build of ONNX Runtime, or the machine, has none.
    """

    def __init__(self, folder: Path, options: LoadOptions) -> None:
        for name in graphs.REQUIRED:
            if not (folder / name).is_file():
                raise WeightsError(
                    f"{folder} has no ONNX graph {name}; run `mintmark export` on the folder, or "
                    "choose the torch runner."
                )
        self.arrays: ArrayBackend = NumpyArrays()
        self._folder = folder
        self._options = options
        self._text_encoder = self._open(graphs.TEXT_ENCODER)
        self._unet = self._open(graphs.UNET)
        self._vae_decoder = self._open(graphs.VAE_DECODER)
        self.has_vae_encoder = (folder / graphs.VAE_ENCODER).is_file()
        self._vae_encoder: Any = None
        # ONNX Runtime says nowhere what a session's weights take in memory.
        self.footprint = Footprint(weights_bytes(folder), memory_bytes=None)

    def text_encoder(self, input_ids: NDArray[np.int64]) -> Array:
        """Return the last hidden state (R, T, D); see Runner.text_encoder."""
        return _run(self._text_encoder, {"input_ids": input_ids})

    def unet(self, sample: Array, timestep: NDArray[np.float32], prompt_embeds: Array) -> Array:
        """Return the raw prediction (R, C, h, w); see Runner.unet."""
        return _run(
            self._unet,
            {"sample": sample, "timestep": timestep, "encoder_hidden_states": prompt_embeds},
        )

    def vae_decoder(self, latents: Array) -> Array:
        """Return pixels (R, 3, H, W); see Runner.vae_decoder."""
        return _run(self._vae_decoder, {"latents": latents})

    def vae_encoder(self, pixels: Array) -> Array:
        """Return the posterior's moments (R, 2C, h, w); the graph is loaded on the first call."""
        if self._vae_encoder is None:
            if not self.has_vae_encoder:
                raise WeightsError(f"{self._folder} has no ONNX graph {graphs.VAE_ENCODER}.")
            self._vae_encoder = self._open(graphs.VAE_ENCODER)
        return _run(self._vae_encoder, {"pixels": pixels})

    def close(self) -> None:
        """Drop the sessions, which frees their memory and ends their threads."""
        self._text_encoder = self._unet = self._vae_decoder = self._vae_encoder = None

    def _open(self, name: str) -> Any:
        """Load one graph with the chosen provider."""
        providers: list[Any] = ["CPUExecutionProvider"]
        if self._options.device == "cuda":
            # float32 means float32: TF32 keeps ten bits of the mantissa.
            providers.insert(0, ("CUDAExecutionProvider", {"use_tf32": "0"}))
            if "CUDAExecutionProvider" not in ort.get_available_providers():
                raise RunnerUnavailable(
                    "device 'cuda' needs onnxruntime-gpu; this ONNX Runtime has no CUDA provider."
                )
        try:
            session = ort.InferenceSession(
                self._folder / name, _session_options(self._options), providers=providers
            )
        except _LOAD_ERRORS as error:
            raise WeightsError(
                f"ONNX Runtime cannot load {self._folder / name}: {error}"
            ) from error
        # ONNX Runtime falls back to the CPU on its own when CUDA does not start.
        if (
            self._options.device == "cuda"
            and "CUDAExecutionProvider" not in session.get_providers()
        ):
            raise RunnerUnavailable("device 'cuda' was asked for, but CUDA does not start here.")
        return session


def _session_options(options: LoadOptions) -> Any:
    """Return the session options: threads, no spinning unless allowed, repeatable kernels."""
    session_options = ort.SessionOptions()
    session_options.use_deterministic_compute = True
    if options.num_threads is not None:
        session_options.intra_op_num_threads = options.num_threads
    spinning = "1" if options.allow_spinning else "0"
    session_options.add_session_config_entry("session.intra_op.allow_spinning", spinning)
    return session_options


def _run(session: Any, feeds: dict[str, NDArray[Any]]) -> NDArray[np.float32]:
    """Return the only output of one call. Raises ModelOutOfMemory when an allocation fails."""
    try:
        output: NDArray[np.float32] = session.run(
            None, {name: np.ascontiguousarray(value) for name, value in feeds.items()}
        )[0]
    except (ort_errors.Fail, ort_errors.RuntimeException) as error:
        if any(sign in str(error) for sign in _OUT_OF_MEMORY_SIGNS):
            raise ModelOutOfMemory("There is too little memory for this batch.") from error
        raise
    return output
