"""What the tensors mean: prompts and settings in, signed pictures out (stops 2 and 10)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from service.errors import InvalidRequest
from service.intake import GenerationDraft
from service.oip.messages import refuse_unknown
from service.oip.tensors import Datatype, Tensor
from service.provenance.manifest import format_watermark_id

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from models.spec import ModelSpec
    from service.domain.result import GenerationResult
    from service.oip.messages import InferRequest, Parameter

PROMPT = "PROMPT"
INIT_IMAGE = "INIT_IMAGE"
MASK = "MASK"
IMAGE = "IMAGE"

INPUTS: Mapping[str, Datatype] = {
    PROMPT: Datatype.BYTES,
    "NEGATIVE_PROMPT": Datatype.BYTES,
    "SEED": Datatype.INT64,
    "STEPS": Datatype.INT32,
    "GUIDANCE_SCALE": Datatype.FP32,
    "WIDTH": Datatype.INT32,
    "HEIGHT": Datatype.INT32,
    INIT_IMAGE: Datatype.BYTES,
    MASK: Datatype.BYTES,
    "STRENGTH": Datatype.FP32,
}
OUTPUTS: Mapping[str, Datatype] = {
    IMAGE: Datatype.BYTES,
    "SEED_USED": Datatype.INT64,
    "PROVENANCE": Datatype.BYTES,
}
PARAMETERS = ("output_compression", "output_format", "scheduler", "timeout")
# Encoded pictures: no text, so JSON has them in base64.
PICTURES = frozenset({INIT_IMAGE, MASK, IMAGE})

# How the rest of the service, which speaks of fields, calls the same things.
TENSOR_NAMES: Mapping[str, str] = {
    "prompt": PROMPT,
    "negative_prompt": "NEGATIVE_PROMPT",
    "seed": "SEED",
    "num_inference_steps": "STEPS",
    "guidance_scale": "GUIDANCE_SCALE",
    "image": INIT_IMAGE,
    "mask": MASK,
    "strength": "STRENGTH",
    "size": "WIDTH",
}

_MAX_SIDE_PX = 99_999
_COLUMN_RANK = 2


@dataclass(frozen=True, slots=True)
class WantedPicture:
    """One picture of an infer request. `init_image`, `mask`: files as they came, not decoded."""

    draft: GenerationDraft
    init_image: bytes | None = None
    mask: bytes | None = None
    strength: float | None = None

    def has_uploads_of(self, other: WantedPicture) -> bool:
        """Tell whether both have the very same uploads, which then need decoding only once."""
        return self.init_image is other.init_image and self.mask is other.mask


def wanted_pictures(request: InferRequest) -> tuple[WantedPicture, ...]:
    """Return one picture for each prompt; what the values may be is `service.intake`'s to say.

    Every other input has one element, which then goes for all of them, or as many as prompts.
    Raises InvalidRequest naming the tensor or parameter at fault.
    """
    refuse_unknown(request.inputs, INPUTS, "input")
    refuse_unknown(request.outputs, OUTPUTS, "output")
    refuse_unknown(request.parameters, PARAMETERS, "parameter")
    if PROMPT not in request.inputs:
        raise InvalidRequest(f"The input '{PROMPT}' is required.", param=PROMPT)
    count = request.inputs[PROMPT].count
    if count == 0:
        raise InvalidRequest(f"'{PROMPT}' has no elements.", param=PROMPT)
    for tensor in request.inputs.values():
        _check(tensor, count)
    _check_pairs(request.inputs)
    return tuple(_wanted(request, index) for index in range(count))


def timeout_s(request: InferRequest) -> float | None:
    """Return how long the caller gives the request: its parameter `timeout` is in microseconds.

    0 and absence mean that it does not say. Raises InvalidRequest.
    """
    timeout_us = _whole(request.parameters, "timeout") or 0
    if timeout_us < 0:
        raise InvalidRequest("The parameter 'timeout' must not be negative.", param="timeout")
    return timeout_us / 1e6 or None


def output_tensors(
    results: Sequence[GenerationResult], spec: ModelSpec, names: Sequence[str]
) -> tuple[Tensor, ...]:
    """Return the outputs called `names`, or all of them if there are none, each of shape [N].

    `results`: one for each prompt, with one picture each.
    """
    make: Mapping[str, Callable[[], Tensor]] = {
        IMAGE: lambda: _bytes(IMAGE, [result.images[0].content for result in results]),
        "SEED_USED": lambda: _seeds([result.images[0].seed for result in results]),
        "PROVENANCE": lambda: _bytes(
            "PROVENANCE", [provenance(result, spec) for result in results]
        ),
    }
    return tuple(make[name]() for name in names or OUTPUTS)


def provenance(result: GenerationResult, spec: ModelSpec) -> bytes:
    """Return what is known of a result's one picture, as a JSON object in ASCII."""
    image = result.images[0]
    facts = {
        "output_id": image.output_id,
        "manifest_id": image.manifest_id,
        "watermark_id": format_watermark_id(image.watermark_id),
        "watermark_profile": image.watermark_profile,
        "pixels_sha256": image.pixels_sha256,
        "content_sha256": image.content_sha256,
        "request_id": result.request_id,
        "model": spec.model_id,
        "model_revision": spec.revision,
        "mime_type": image.format.mime_type,
        "width_px": image.width_px,
        "height_px": image.height_px,
        "created_at": image.created_at.isoformat(),
        "warnings": result.warnings,
    }
    return json.dumps(facts, ensure_ascii=True, separators=(",", ":")).encode("ascii")


def _check(tensor: Tensor, count: int) -> None:
    """Check a tensor against its declaration: [N] or [N, 1], where N is 1 or `count`."""
    name, shape, wanted = tensor.name, tensor.shape, INPUTS[tensor.name]
    if tensor.datatype is not wanted:
        raise InvalidRequest(f"'{name}' must be {wanted}, not {tensor.datatype}.", param=name)
    is_column = len(shape) == _COLUMN_RANK and shape[1] == 1
    if len(shape) != 1 and not is_column:
        raise InvalidRequest(f"The shape of '{name}' must be [N] or [N, 1].", param=name)
    if tensor.count not in (1, count):
        raise InvalidRequest(
            f"'{name}' has {tensor.count} elements for {count} prompts; it takes 1 or {count}.",
            param=name,
        )


def _check_pairs(inputs: Mapping[str, Tensor]) -> None:
    """Refuse inputs that mean nothing without another one."""
    for name, partner in (
        ("WIDTH", "HEIGHT"),
        ("HEIGHT", "WIDTH"),
        (MASK, INIT_IMAGE),
        ("STRENGTH", INIT_IMAGE),
    ):
        if name in inputs and partner not in inputs:
            raise InvalidRequest(f"'{name}' needs the input '{partner}' as well.", param=name)


def _wanted(request: InferRequest, index: int) -> WantedPicture:
    inputs, parameters = request.inputs, request.parameters
    draft = GenerationDraft(
        prompt=_text(inputs, PROMPT, index) or "",
        negative_prompt=_text(inputs, "NEGATIVE_PROMPT", index),
        size=_size(inputs, index),
        seed=_integer(inputs, "SEED", index),
        num_inference_steps=_integer(inputs, "STEPS", index),
        guidance_scale=_real(inputs, "GUIDANCE_SCALE", index),
        scheduler=_word(parameters, "scheduler"),
        output_format=_word(parameters, "output_format"),
        output_compression=_whole(parameters, "output_compression"),
    )
    return WantedPicture(
        draft,
        init_image=_content(inputs, INIT_IMAGE, index),
        mask=_content(inputs, MASK, index),
        strength=_real(inputs, "STRENGTH", index),
    )


def _content(inputs: Mapping[str, Tensor], name: str, index: int) -> bytes | None:
    tensor = inputs.get(name)
    if tensor is None:
        return None
    assert isinstance(tensor.values, tuple), "its datatype has been checked"
    return tensor.values[index % tensor.count]


def _text(inputs: Mapping[str, Tensor], name: str, index: int) -> str | None:
    content = _content(inputs, name, index)
    try:
        return None if content is None else content.decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidRequest(f"'{name}' is not UTF-8 text.", param=name) from None


def _integer(inputs: Mapping[str, Tensor], name: str, index: int) -> int | None:
    tensor = inputs.get(name)
    return None if tensor is None else int(tensor.values[index % tensor.count])


def _real(inputs: Mapping[str, Tensor], name: str, index: int) -> float | None:
    tensor = inputs.get(name)
    return None if tensor is None else float(tensor.values[index % tensor.count])


def _size(inputs: Mapping[str, Tensor], index: int) -> str | None:
    sides = []
    for name in ("WIDTH", "HEIGHT"):
        side = _integer(inputs, name, index)
        if side is None:
            return None
        if not 1 <= side <= _MAX_SIDE_PX:
            raise InvalidRequest(f"'{name}' must be from 1 to {_MAX_SIDE_PX}.", param=name)
        sides.append(str(side))
    return "x".join(sides)


def _word(parameters: Mapping[str, Parameter], name: str) -> str | None:
    value = parameters.get(name)
    if value is not None and not isinstance(value, str):
        raise InvalidRequest(f"The parameter '{name}' must be a string.", param=name)
    return value


def _whole(parameters: Mapping[str, Parameter], name: str) -> int | None:
    value = parameters.get(name)
    if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
        raise InvalidRequest(f"The parameter '{name}' must be a whole number.", param=name)
    return value


def _bytes(name: str, elements: Sequence[bytes]) -> Tensor:
    return Tensor(name, Datatype.BYTES, (len(elements),), tuple(elements))


def _seeds(seeds: Sequence[int]) -> Tensor:
    return Tensor("SEED_USED", Datatype.INT64, (len(seeds),), np.array(seeds, np.int64))
