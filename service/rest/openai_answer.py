"""How a checked image call is answered: inline, by links, or as a stream (stops 3 and 10)."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.errors import DeadlineExceeded, InvalidRequest, StorageFailed
from service.rest.disconnect import run_while_connected
from service.rest.event_stream import EventStream
from service.rest.openai_events import ImageEvents
from service.rest.openai_present import Presenter
from service.rest.request_identity import request_id_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import ExitStack

    from starlette.requests import Request
    from starlette.responses import Response

    from models.spec import ModelSpec
    from service.domain.identity import Deadline
    from service.domain.request import GenerationRequest
    from service.domain.result import GenerationResult
    from service.rest.dependencies import RestDependencies, RestEnvironment
    from service.rest.openai_schema import ImagesBody
    from service.storage.interface import Storage, StoredPicture

_HOST = re.compile(r"[A-Za-z0-9.\-:\[\]]{1,255}", re.ASCII)


@dataclass(frozen=True, slots=True)
class ImageCall:
    """A checked call. `events`: what its events' names begin with."""

    events: str
    body: ImagesBody
    spec: ModelSpec
    request: GenerationRequest
    deadline: Deadline


class ImageAnswers:
    """Has calls carried out and answers them in the form they ask for."""

    def __init__(self, environment: RestEnvironment) -> None:
        self._environment = environment

    async def answer(
        self, request: Request, dependencies: RestDependencies, call: ImageCall, held: ExitStack
    ) -> Response:
        """Return the answer, or raise the ServiceError that ended the call.

        `held`: what the call takes up; a stream takes it over and closes it when it ends.
        """
        presenter = Presenter.of(call.body, call.request, call.spec)
        if call.body.stream:
            return await self._stream(request, dependencies, call, presenter, held)
        if call.body.response_format == "url":
            storage = _require_storage(dependencies)
            storage.pictures.refuse_if_full()
            storing = self._draw_and_store(request, dependencies, call, storage)
            result, stored = await run_while_connected(storing, request.receive)
            return presenter.links(result, stored)
        drawing = dependencies.generate(
            call.request, request_id=request_id_of(request.scope), deadline=call.deadline
        )
        return presenter.inline(await run_while_connected(drawing, request.receive))

    async def _stream(
        self,
        request: Request,
        dependencies: RestDependencies,
        call: ImageCall,
        presenter: Presenter,
        held: ExitStack,
    ) -> EventStream:
        request_id = request_id_of(request.scope)
        stream = dependencies.generate.stream(
            call.request, request_id=request_id, deadline=call.deadline
        )
        # The first event says that the request is let in. If it is not, the answer is an error
        # like any other, with its status; from then on, errors are events.
        await anext(stream)
        events = ImageEvents(call.events, presenter, request_id)
        return EventStream(events.of(stream), self._environment.options, held.pop_all().close)

    async def _draw_and_store(
        self, request: Request, dependencies: RestDependencies, call: ImageCall, storage: Storage
    ) -> tuple[GenerationResult, Sequence[StoredPicture]]:
        result = await dependencies.generate(
            call.request, request_id=request_id_of(request.scope), deadline=call.deadline
        )
        loop, base_url = asyncio.get_running_loop(), _base_url(request)
        storing = [
            loop.run_in_executor(storage.pool, storage.pictures.store, image, base_url)
            for image in result.images
        ]
        try:
            async with asyncio.timeout(call.deadline.remaining_s(self._environment.clock())):
                return result, await asyncio.gather(*storing)
        except TimeoutError:
            raise DeadlineExceeded("The deadline passed while the picture was stored.") from None
        except StorageFailed as error:
            raise _lost(result) from error


def _require_storage(dependencies: RestDependencies) -> Storage:
    if dependencies.storage is None:
        raise InvalidRequest(
            "'response_format' must be b64_json: this server keeps no pictures. "
            "MINTMARK_STORAGE__KIND=folder or s3 makes it do so.",
            param="response_format",
        )
    return dependencies.storage


def _lost(result: GenerationResult) -> StorageFailed:
    """Return an error that says what was made and how to have the same pixels after all."""
    outputs = ", ".join(image.output_id for image in result.images)
    return StorageFailed(
        f"The pictures were made and recorded as {outputs}, but they could not be stored. The "
        f"same request with 'seed' {result.request.sampling.seed} and 'response_format' b64_json "
        "gives the same pixels."
    )


def _base_url(request: Request) -> str:
    """Return how the caller addresses us, or nothing if it does so in an unheard-of way."""
    url = request.base_url
    return f"{url.scheme}://{url.netloc}" if _HOST.fullmatch(url.netloc) else ""
