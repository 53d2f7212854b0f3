"""OpenAI's image calls: what comes in, checked and decoded (stops 1 and 2)."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from contextvars import copy_context
from typing import TYPE_CHECKING

from service.domain.identity import Deadline
from service.edit_upload import decode_edit
from service.errors import ServiceError
from service.intake import build_request
from service.rest.dependencies import find_model
from service.rest.multipart import open_form
from service.rest.openai_answer import ImageAnswers, ImageCall
from service.rest.openai_convert import strength_of, to_draft
from service.rest.openai_schema import (
    ImagesEditBody,
    ImagesGenerateBody,
    ImagesVariationBody,
    parse_form_body,
    parse_json_body,
)
from service.rest.openai_uploads import (
    IMAGE,
    MASK,
    edit_form_limits,
    read_edit_files,
)
from service.rest.request_body import read_json_object
from service.telemetry.metric_table import ADMISSION_REFUSALS

if TYPE_CHECKING:
    from collections.abc import Collection

    from starlette.requests import Request
    from starlette.responses import Response

    from service.edit_intake import EditDraft
    from service.rest.dependencies import RestDependencies, RestEnvironment
    from service.rest.openai_uploads import EditFiles, UploadBudget


class ImagesEndpoint:
    """Draws and edits pictures, each for one HTTP request, and stops when its client leaves."""

    def __init__(self, environment: RestEnvironment, budget: UploadBudget) -> None:
        """`budget`: bounds the uploads of every route together."""
        self._environment = environment
        self._answers = ImageAnswers(environment)
        self._budget = budget

    async def create(self, request: Request) -> Response:
        """Answer with every picture, or raise a ServiceError; never with fewer or unsigned ones."""
        deadline = self._deadline()
        body = parse_json_body(await read_json_object(request), ImagesGenerateBody)
        dependencies = self._require_loaded()
        spec = find_model(dependencies, body.model)
        limits = self._environment.limits
        wanted = build_request(to_draft(body, spec, limits), spec, limits)
        call = ImageCall("image_generation", body, spec, wanted, deadline)
        return await self._answers.answer(request, dependencies, call, ExitStack())

    async def edit(self, request: Request) -> Response:
        """Answer with pictures made from the uploaded one; otherwise as `create`."""
        return await self._redraw(request, ImagesEditBody, (IMAGE, MASK))

    async def vary(self, request: Request) -> Response:
        """Answer with pictures like the uploaded one: an edit that needs no prompt."""
        return await self._redraw(request, ImagesVariationBody, (IMAGE,))

    async def _redraw(
        self, request: Request, model: type[ImagesEditBody], file_names: Collection[str]
    ) -> Response:
        deadline = self._deadline()
        limits = self._environment.limits
        async with open_form(request, edit_form_limits(limits), IMAGE) as form:
            files = await read_edit_files(form, file_names)
            body = parse_form_body(form.fields, model)
        dependencies = self._require_loaded()
        spec = find_model(dependencies, body.model)
        strength = strength_of(body, spec, limits)
        with ExitStack() as held:
            held.enter_context(self._budget.hold(files.size_bytes))
            edit = await _decode(dependencies, files, strength, self._environment)
            wanted = build_request(to_draft(body, spec, limits, edit), spec, limits)
            call = ImageCall("image_edit", body, spec, wanted, deadline)
            return await self._answers.answer(request, dependencies, call, held)

    def _deadline(self) -> Deadline:
        environment = self._environment
        return Deadline.after(environment.request_timeout_s, environment.clock())

    def _require_loaded(self) -> RestDependencies:
        try:
            return self._environment.require_loaded()
        except ServiceError as error:
            self._environment.metrics.count(ADMISSION_REFUSALS, error.code)
            raise


async def _decode(
    dependencies: RestDependencies,
    files: EditFiles,
    strength: float | None,
    environment: RestEnvironment,
) -> EditDraft:
    loop, context = asyncio.get_running_loop(), copy_context()
    return await loop.run_in_executor(
        dependencies.verify_pool,
        context.run,
        decode_edit,
        files.image,
        files.mask,
        strength,
        environment.limits,
    )
