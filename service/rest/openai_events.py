"""What happens to a request as OpenAI's stream events (stop 10)."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from service.domain.stream import Completed, FinishedImage, PartialImage
from service.rest.error_response import error_response, to_service_error
from service.rest.event_stream import ServerSentEvent
from service.rest.json_answer import picture_object
from service.rest.openai_present import energy_facts, picture_facts

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from service.domain.identity import RequestId
    from service.domain.result import GenerationResult, SignedImage
    from service.domain.stream import StreamEvent
    from service.rest.openai_present import Presenter


class ImageEvents:
    """The events of one request. `prefix`: `image_generation` or `image_edit`."""

    def __init__(self, prefix: str, presenter: Presenter, request_id: RequestId) -> None:
        self._prefix = prefix
        self._presenter = presenter
        self._request_id = request_id

    async def of(
        self, stream: AsyncGenerator[StreamEvent, None]
    ) -> AsyncGenerator[ServerSentEvent, None]:
        """Yield an event for each picture, and one more if `stream` ends with an error.

        Usage, warnings and energy are known when all is done, so the last picture has them; the
        pictures before it count only themselves, which adds up to what the request has used.
        """
        last: FinishedImage | None = None
        num_finished = 0
        try:
            async with aclosing(stream):
                async for event in stream:
                    match event:
                        case PartialImage():
                            yield self._partial(event)
                        case FinishedImage():
                            num_finished += 1
                            if num_finished == self._presenter.request.num_images:
                                last = event
                            else:
                                yield self._completed(event)
                        case Completed() if last is not None:
                            yield self._completed(last, event.result)
        except Exception as exc:  # noqa: BLE001 - once a stream has begun, this is its boundary
            body = error_response(to_service_error(exc), self._request_id).body
            yield ServerSentEvent("error", (bytes(body),))

    def _partial(self, event: PartialImage) -> ServerSentEvent:
        members = {"partial_image_index": event.partial_index}
        return self._event("partial_image", event.image_index, event.image, members)

    def _completed(
        self, event: FinishedImage, result: GenerationResult | None = None
    ) -> ServerSentEvent:
        presenter, members = self._presenter, dict[str, Any]()
        if result is None:
            members["usage"] = presenter.usage(prompt_tokens=0, num_images=1, num_inputs=0)
        else:
            members["usage"] = presenter.usage(result.prompt_tokens, 1, presenter.num_inputs)
            members["warnings"] = list(result.warnings)
            members |= energy_facts(result.energy, len(result.images))
        return self._event("completed", event.image_index, event.image, members)

    def _event(
        self, kind: str, image_index: int, image: SignedImage, members: dict[str, Any]
    ) -> ServerSentEvent:
        name = f"{self._prefix}.{kind}"
        facts = {
            "type": name,
            "created_at": int(image.created_at.timestamp()),
            "model": self._presenter.request.model_id,
            "request_id": self._request_id,
            "image_index": image_index,
            **self._presenter.picture_form(),
            **members,
            **picture_facts(image),
        }
        return ServerSentEvent(name, picture_object(image.content, facts))
