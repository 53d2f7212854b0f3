"""POST /v1/images/verify: what a picture proves by itself, and whose roots to trust for that."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from contextvars import copy_context
from typing import TYPE_CHECKING

from starlette.responses import Response

from service.errors import InvalidRequest, QueueFull
from service.rest.json_answer import JsonAnswer
from service.rest.multipart import FormLimits, open_form
from service.telemetry.metric_table import VERIFICATIONS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.requests import Request

    from service.rest.dependencies import RestDependencies, RestEnvironment
    from service.rest.multipart import Form, UploadedFile

_FIELD = "image"
_RETRY_AFTER_S = 2.0
_MAX_PARTS = 4  # enough to say which one is too many
_MULTIPART_BYTES = 16 * 1024  # boundaries and part headers around the picture


class VerifyEndpoint:
    """Examines uploaded pictures in a small pool of threads; keeps nothing."""

    def __init__(self, environment: RestEnvironment) -> None:
        self._environment = environment
        self._pending = 0

    async def verify(self, request: Request) -> Response:
        """Answer with the verification report of the one uploaded picture."""
        dependencies = self._environment.require_loaded()
        async with open_form(request, self._form_limits(), _FIELD) as form:
            image = _only_image(form)
            with self._slot():
                return await self._examine(dependencies, await image.read())

    async def trust_anchors(self, request: Request) -> Response:  # noqa: ARG002
        """Answer with the root certificates (PEM) that this service's signatures chain to."""
        dependencies = self._environment.require_loaded()
        return Response(dependencies.trust_anchors_pem, media_type="application/x-pem-file")

    def _form_limits(self) -> FormLimits:
        largest_bytes = self._environment.limits.max_upload_bytes
        return FormLimits(
            max_body_bytes=largest_bytes + _MULTIPART_BYTES,
            max_file_bytes=largest_bytes,
            max_files=_MAX_PARTS,
            max_fields=_MAX_PARTS,
        )

    @contextmanager
    def _slot(self) -> Iterator[None]:
        """Bound what is held in memory; uploads still arriving are in files."""
        if self._pending >= self._environment.max_pending_verifications:
            raise QueueFull("Too many pictures are being verified.", retry_after_s=_RETRY_AFTER_S)
        self._pending += 1
        try:
            yield
        finally:
            self._pending -= 1

    async def _examine(self, dependencies: RestDependencies, content: bytes) -> Response:
        if not content:
            raise InvalidRequest(f"'{_FIELD}' is empty.", param=_FIELD)
        report = await asyncio.get_running_loop().run_in_executor(
            dependencies.verify_pool, copy_context().run, dependencies.verifier.verify, content
        )
        self._environment.metrics.count(VERIFICATIONS, str(report.verdict))
        return JsonAnswer(report)


def _only_image(form: Form) -> UploadedFile:
    """Return the one file of the form; raises InvalidRequest for anything beside it."""
    for name in [*form.fields, *form.files]:
        if name != _FIELD:
            raise InvalidRequest(f"'{name[:60]}' is not a field of this request.", param=name[:60])
    if _FIELD in form.fields:
        raise InvalidRequest(f"'{_FIELD}' must be a file.", param=_FIELD)
    images = form.files.get(_FIELD, [])
    if not images:
        raise InvalidRequest(f"'{_FIELD}' is required.", param=_FIELD)
    if len(images) > 1:
        raise InvalidRequest(f"'{_FIELD}' must be one file.", param=_FIELD)
    return images[0]
