"""One infer request from tensors to signed pictures, for both transports (stops 2-10)."""

from __future__ import annotations

import asyncio
from contextvars import copy_context
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from service.domain.identity import RequestId
from service.edit_upload import decode_edit
from service.errors import InvalidRequest, ModelNotFound, PayloadTooLarge
from service.intake import build_request
from service.oip.messages import InferResponse
from service.oip.pictures import INIT_IMAGE, TENSOR_NAMES, output_tensors, wanted_pictures
from service.oip.tensors import show

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from concurrent.futures import Executor

    from models.spec import ModelSpec
    from service.domain.identity import Deadline
    from service.domain.request import GenerationRequest
    from service.domain.result import GenerationResult
    from service.edit_intake import EditDraft
    from service.intake import LimitsOptions
    from service.oip.messages import InferRequest
    from service.oip.pictures import WantedPicture
    from service.telemetry.generation import Generation


class InferenceDependencies(Protocol):
    """What inference needs of a loaded application; each transport's own dependencies have it."""

    @property
    def generate(self) -> Generation:
        """The use case."""

    @property
    def models(self) -> Mapping[str, ModelSpec]:
        """Every served model by its id."""

    @property
    def verify_pool(self) -> Executor:
        """Threads for uploads, which are never decoded on the event loop."""


@dataclass(frozen=True, slots=True)
class Inference:
    """An infer request that has been checked: one generation request for each prompt."""

    infer: InferRequest
    spec: ModelSpec
    generations: tuple[GenerationRequest, ...]


def find_version(models: Mapping[str, ModelSpec], name: str, version: str) -> ModelSpec:
    """Return the named model. Its one version is its revision; an empty one leaves it open.

    Raises ModelNotFound.
    """
    spec = models.get(name)
    if spec is None:
        raise ModelNotFound(f"The model '{show(name)}' is not served here.", param="model_name")
    if version not in ("", spec.revision):
        raise ModelNotFound(
            f"The model '{show(name)}' has no version '{show(version)}'; it has {spec.revision}.",
            param="model_version",
        )
    return spec


async def prepare(
    infer: InferRequest, dependencies: InferenceDependencies, limits: LimitsOptions
) -> Inference:
    """Check `infer` against the model and the limits; pictures in it are decoded in the pool.

    Raises ModelNotFound, InvalidRequest or PayloadTooLarge, naming the tensor at fault.
    """
    spec = find_version(dependencies.models, infer.model_name, infer.model_version)
    wanted = wanted_pictures(infer)
    if INIT_IMAGE not in infer.inputs:
        return Inference(infer, spec, build_requests(wanted, spec, limits))
    generations = await asyncio.get_running_loop().run_in_executor(
        dependencies.verify_pool, copy_context().run, build_requests, wanted, spec, limits
    )
    return Inference(infer, spec, generations)


async def draw(
    inference: Inference, generate: Generation, request_id: RequestId, deadline: Deadline
) -> InferResponse:
    """Draw every picture at once and return the answer, or raise the first ServiceError of any.

    One that fails stops the others, and cancelling the awaiting task stops them all.
    `request_id`: of the whole; if there are several pictures, picture i runs as `<request_id>.<i>`.
    """
    ids = [request_id]
    if len(inference.generations) > 1:
        ids = [RequestId(f"{request_id}.{i}") for i in range(len(inference.generations))]
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(generate(request, request_id=each, deadline=deadline))
                for request, each in zip(inference.generations, ids, strict=True)
            ]
    except BaseExceptionGroup as failures:
        raise _as_tensors(failures.exceptions[0]) from None
    return _answer(inference, [task.result() for task in tasks])


def build_requests(
    wanted: Sequence[WantedPicture], spec: ModelSpec, limits: LimitsOptions
) -> tuple[GenerationRequest, ...]:
    """Return a checked request for each picture. Blocking if there are pictures to decode.

    Raises InvalidRequest or PayloadTooLarge in terms of tensors, with the index of the prompt at
    fault if there are several.
    """
    built: list[GenerationRequest] = []
    before: WantedPicture | None = None
    edit: EditDraft | None = None
    for index, picture in enumerate(wanted):
        try:
            if before is not None and edit is not None and picture.has_uploads_of(before):
                edit = replace(edit, strength=picture.strength)
            elif picture.init_image is not None:
                edit = decode_edit(picture.init_image, picture.mask, picture.strength, limits)
            built.append(build_request(replace(picture.draft, edit=edit), spec, limits))
            before = picture
        except (InvalidRequest, PayloadTooLarge) as error:
            raise _as_tensors(error, index if len(wanted) > 1 else None) from None
    return tuple(built)


def _as_tensors(error: BaseException, index: int | None = None) -> BaseException:
    """Return a refusal of the shared intake or use case with the names that the caller used."""
    if not isinstance(error, InvalidRequest | PayloadTooLarge) or error.param is None:
        return error
    param = TENSOR_NAMES.get(error.param, error.param)
    message = error.message.replace(f"'{error.param}'", f"'{param}'")
    if param not in message:
        message = f"'{param}': {message}"
    if index is not None:
        message = f"Prompt {index}: {message}"
    return type(error)(message, param=param)


def _answer(inference: Inference, results: Sequence[GenerationResult]) -> InferResponse:
    infer, spec = inference.infer, inference.spec
    return InferResponse(
        model_name=spec.model_id,
        model_version=spec.revision,
        id=infer.id,
        outputs=output_tensors(results, spec, infer.outputs),
    )
