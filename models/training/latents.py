"""A bank of encoded pictures, drawn anew now and then: the denoiser never waits for the encoder."""

from __future__ import annotations

import io
import pickle
from copy import deepcopy
from typing import TYPE_CHECKING, Any, Final

import torch

from models.training.autoencoder import encode_mean
from models.training.storage import replace_file
from models.training.tokens import encode_texts

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

    from models.tokenizer import ClipTokenizer
    from models.training.sampler import BatchSampler

_CHUNK: Final = 64


class FillingCache:
    """One filling on disk. vae: digest of the autoencoder that made its latents."""

    def __init__(self, path: Path, vae: str) -> None:
        self._path = path
        self._vae = vae

    def save(
        self, start: Mapping[str, Any], filled: tuple[Tensor, Tensor], sampler: Mapping[str, Any]
    ) -> None:
        """Keep a filling. start, sampler: the sampler's states before and after.

        Raises TrainingError if it cannot be written.
        """
        latents, ids = (values.cpu() for values in filled)
        buffer = io.BytesIO()
        content = {"vae": self._vae, "start": start, "sampler": sampler}
        torch.save({**content, "latents": latents, "ids": ids}, buffer)
        replace_file(self._path, buffer.getvalue())

    def load(self, start: Mapping[str, Any]) -> tuple[Tensor, Tensor, dict[str, Any]] | None:
        """Return latents, ids and the sampler's state after, if kept for this `start`."""
        try:
            kept = torch.load(self._path, weights_only=True)
        except (OSError, EOFError, RuntimeError, pickle.UnpicklingError):
            return None
        if kept["vae"] != self._vae or not _are_equal(kept["start"], start):
            return None
        return kept["latents"], kept["ids"], kept["sampler"]


class LatentBank:
    """`size` pictures as latents with the tokens of their captions, on the autoencoder's device.

    steps: how many training steps one filling serves. cache: a file that keeps the filling, None
    for no such file: encoding takes minutes on a CPU, which a resumed run then need not spend
    again. empty_ids: tokens (1, window) of no prompt.
    """

    def __init__(
        self,
        vae: Any,
        sampler: BatchSampler,
        tokenizer: ClipTokenizer,
        size: int,
        steps: int,
        cache: FillingCache | None = None,
    ) -> None:
        self._vae = vae.to(memory_format=torch.channels_last)
        self._cache = cache
        self._sampler = sampler
        self._tokenizer = tokenizer
        self._size = size
        self._steps = steps
        self._filling = -1
        self._start: dict[str, Any] = {}
        self._content: tuple[Tensor, Tensor] | None = None
        device = next(vae.parameters()).device
        self.empty_ids = torch.from_numpy(encode_texts(tokenizer, [""])).to(device)

    def draw(self, count: int, step: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return (latents (n, C, h, w) float32, token ids (n, window)) for one training step."""
        latents, ids = self._filled(step)
        chosen = torch.randint(
            self._size, (count,), generator=generator, device=generator.device
        ).to(latents.device)
        return latents[chosen].float(), ids[chosen].long()

    def state_dict(self) -> dict[str, Any]:
        """Return what the next filling, and the present one once more, can be made from."""
        return {
            "filling": self._filling,
            "start": self._start,
            "sampler": deepcopy(self._sampler.state_dict()),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to a state; the filling is made again when it is first needed."""
        self._filling, self._start = state["filling"], state["start"]
        self._sampler.load_state_dict(state["sampler"])
        self._content = None

    def _filled(self, step: int) -> tuple[Tensor, Tensor]:
        filling = step // self._steps
        if self._content is not None and filling == self._filling:
            return self._content
        if filling == self._filling:
            self._sampler.load_state_dict(self._start)
        else:
            self._filling, self._start = filling, deepcopy(self._sampler.state_dict())
        # Let go of the old filling first: two need not fit in memory.
        self._content = None
        self._content = self._restore() or self._fill()
        return self._content

    def _restore(self) -> tuple[Tensor, Tensor] | None:
        """Return the kept filling, if there is one, and let the sampler go on from after it."""
        kept = None if self._cache is None else self._cache.load(self._start)
        if kept is None:
            return None
        latents, ids, sampler = kept
        self._sampler.load_state_dict(sampler)
        device = self.empty_ids.device
        return latents.to(device), ids.to(device)

    @torch.no_grad()
    def _fill(self) -> tuple[Tensor, Tensor]:
        """Draw and encode. Half precision: latents have unit variance, ids fit in 16 bits."""
        latents, ids = [], []
        for begin in range(0, self._size, _CHUNK):
            batch = self._sampler.sample(min(_CHUNK, self._size - begin))
            with torch.autocast(batch.pixels.device.type, torch.bfloat16):
                latents.append(encode_mean(self._vae, batch.pixels).half())
            ids.append(torch.from_numpy(encode_texts(self._tokenizer, batch.captions)).short())
        filled = torch.cat(latents), torch.cat(ids).to(self.empty_ids.device)
        if self._cache is not None:
            self._cache.save(self._start, filled, deepcopy(self._sampler.state_dict()))
        return filled


def _are_equal(one: Any, other: Any) -> bool:
    """Compare states: tensors by value, containers by what they hold."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and torch.equal(one.cpu(), other.cpu())
    if isinstance(one, dict):
        return (
            isinstance(other, dict)
            and one.keys() == other.keys()
            and all(_are_equal(value, other[name]) for name, value in one.items())
        )
    if isinstance(one, list | tuple):
        return (
            isinstance(other, list | tuple)
            and len(one) == len(other)
            and all(map(_are_equal, one, other))
        )
    return bool(one == other)
