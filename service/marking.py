"""Marks the pictures of one request in threads, as they come from the engine (stop 9)."""

from __future__ import annotations

import asyncio
import logging
from contextvars import copy_context
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from service.domain.stream import FinishedImage, PartialImage
from service.errors import ServiceError
from service.telemetry.request_record import noted_marking

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor

    from service.domain.result import DecodedImage, SignedImage
    from service.provenance.pipeline import MarkingRequest

logger = logging.getLogger(__name__)


class Marker(Protocol):
    """Turns pixels into the only form that may leave; raises a ServiceError instead of less."""

    def mark(self, image: DecodedImage, request: MarkingRequest) -> SignedImage:
        """Watermark, encode, sign, read back and record one image. Blocking, thread-safe."""


class RequestMarking:
    """Everything one request gets marked; its tasks belong to `tasks`, its threads to `pool`.

    `announce` is told of each picture when it is ready: per image in order, previews first. A
    preview that cannot be marked is left out: no picture leaves without its marks, and one that is
    not finished is not worth failing the request for.
    """

    def __init__(
        self,
        marker: Marker,
        pool: Executor,
        tasks: asyncio.TaskGroup,
        request: MarkingRequest,
        announce: Callable[[PartialImage | FinishedImage], None],
    ) -> None:
        self._marker = marker
        self._pool = pool
        self._tasks = tasks
        self._request = request
        self._announce = announce
        self._last: dict[int, asyncio.Task[None]] = {}
        self._finished: dict[int, SignedImage] = {}
        self.skipped_previews = 0

    @property
    def images(self) -> tuple[SignedImage, ...]:
        """Return the finished pictures so far, in the order of the request."""
        return tuple(self._finished[index] for index in sorted(self._finished))

    def add_preview(self, image_index: int, partial_index: int, image: DecodedImage) -> None:
        """Start to mark a preview."""
        before = self._last.get(image_index)
        work = self._mark_preview(image_index, partial_index, image, before)
        self._last[image_index] = self._tasks.create_task(work)

    def add_image(self, image_index: int, image: DecodedImage) -> None:
        """Start to mark a finished image."""
        before = self._last.get(image_index)
        work = self._mark_image(image_index, image, before)
        self._last[image_index] = self._tasks.create_task(work)

    async def _mark_preview(
        self,
        image_index: int,
        partial_index: int,
        image: DecodedImage,
        before: asyncio.Task[None] | None,
    ) -> None:
        try:
            signed = await self._in_thread(
                image_index, image, replace(self._request, is_preview=True)
            )
        except ServiceError as error:
            self.skipped_previews += 1
            logger.info("a preview was not marked, so it is not sent: %s", error.code)
            return
        if before is not None:
            await before
        self._announce(PartialImage(image_index, partial_index, signed))

    async def _mark_image(
        self, image_index: int, image: DecodedImage, before: asyncio.Task[None] | None
    ) -> None:
        signed = await self._in_thread(image_index, image, self._request)
        if before is not None:
            await before
        self._finished[image_index] = signed
        self._announce(FinishedImage(image_index, signed))

    async def _in_thread(
        self, image_index: int, image: DecodedImage, request: MarkingRequest
    ) -> SignedImage:
        loop = asyncio.get_running_loop()
        with noted_marking(image_index, is_preview=request.is_preview):
            work = copy_context().run  # the thread's log lines and stages belong to the request
            return await loop.run_in_executor(self._pool, work, self._marker.mark, image, request)
