"""POST /v1/images/verify: what a picture proves by itself, and whose roots to trust for that."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from contextvars import copy_context
from typing import TYPE_CHECKING

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.responses import Response

from service.errors import InvalidRequest, QueueFull
from service.rest.json_answer import JsonAnswer
from service.rest.request_body import require_media_type
from service.telemetry.metric_table import VERIFICATIONS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.datastructures import FormData
    from starlette.requests import Request

    from service.rest.dependencies import RestDependencies, RestEnvironment

_FIELD = "image"
_RETRY_AFTER_S = 2.0
_MAX_PARTS = 4  # enough to say which one is too many


class VerifyEndpoint:
    """Examines uploaded pictures in a small pool of threads; keeps nothing."""

    def __init__(self, environment: RestEnvironment) -> None:
        self._environment = environment
        self._pending = 0

    async def verify(self, request: Request) -> Response:
        """Answer with the verification report of the one uploaded picture."""
        dependencies = self._environment.require_loaded()
        form = await _read_form(request)
        try:
            image = _only_image(form.multi_items())
            with self._slot():
                return await self._examine(dependencies, await image.read())
        finally:
            await form.close()

    async def trust_anchors(self, request: Request) -> Response:  # noqa: ARG002
        """Answer with the root certificates (PEM) that this service's signatures chain to."""
        dependencies = self._environment.require_loaded()
        return Response(dependencies.trust_anchors_pem, media_type="application/x-pem-file")

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


async def _read_form(request: Request) -> FormData:
    require_media_type(request, "multipart/form-data")
    try:
        return await request.form(max_files=_MAX_PARTS, max_fields=_MAX_PARTS)
    except (HTTPException, MultiPartException) as exc:
        detail = exc.detail if isinstance(exc, HTTPException) else exc.message
        raise InvalidRequest(f"The form cannot be read: {detail}", param=_FIELD) from None


def _only_image(items: list[tuple[str, UploadFile | str]]) -> UploadFile:
    """Return the one file of the form; raises InvalidRequest for anything beside it."""
    for name, _ in items:
        if name != _FIELD:
            raise InvalidRequest(f"'{name[:60]}' is not a field of this request.", param=name[:60])
    if not items:
        raise InvalidRequest(f"'{_FIELD}' is required.", param=_FIELD)
    if len(items) > 1:
        raise InvalidRequest(f"'{_FIELD}' must be one file.", param=_FIELD)
    image = items[0][1]
    if not isinstance(image, UploadFile):
        raise InvalidRequest(f"'{_FIELD}' must be a file.", param=_FIELD)
    return image
