"""The client for code without asyncio."""

from __future__ import annotations

from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any, Self

import grpc

from service.client.connection import DEFAULT_TARGET, Tls, call_metadata, channel_options
from service.client.errors import error_from
from service.client.requests import (
    EditOptions,
    GenerateOptions,
    edit_request,
    generate_request,
)
from service.client.results import (
    Collector,
    Event,
    Generated,
    ModelFacts,
    Report,
    to_event,
    to_model,
    to_report,
)
from service.rpc.generated.mintmark.v1 import image_generation_pb2 as pb
from service.rpc.generated.mintmark.v1 import image_generation_pb2_grpc as pb_grpc

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from types import TracebackType

_DEFAULTS = GenerateOptions()
_EDIT_DEFAULTS = EditOptions()


class MintmarkClient:
    """Calls one server; use it as a context manager, or `close` it. Thread-safe.

    `deadline_s` of every method: seconds until the call is given up, on both sides; None leaves it
    to the server's own limit. Every method raises MintmarkError. A stream that is left early stops
    the work on the server within one step.
    """

    def __init__(
        self, target: str = DEFAULT_TARGET, *, tls: Tls | None = None, api_key: str | None = None
    ) -> None:
        options = channel_options(tls)
        self._channel = (
            grpc.insecure_channel(target, options)
            if tls is None
            else grpc.secure_channel(target, tls.credentials(), options)
        )
        self._stub: Any = pb_grpc.ImageGenerationStub(self._channel)  # type: ignore[no-untyped-call]
        self._api_key = api_key

    def __enter__(self) -> Self:
        """Return the client."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the client."""
        self.close()

    def close(self) -> None:
        """End the connection and every call on it."""
        self._channel.close()

    def generate(
        self,
        prompt: str,
        options: GenerateOptions = _DEFAULTS,
        *,
        deadline_s: float | None = None,
        request_id: str | None = None,
    ) -> Generated:
        """Return the pictures of one request, all of them."""
        events = self.stream(prompt, options, deadline_s=deadline_s, request_id=request_id)
        return _collected(events)

    def stream(
        self,
        prompt: str,
        options: GenerateOptions = _DEFAULTS,
        *,
        deadline_s: float | None = None,
        request_id: str | None = None,
    ) -> Generator[Event, None, None]:
        """Yield the events of one request as they come."""
        request = generate_request(prompt, options)
        return self._events(self._stub.Generate, request, deadline_s, request_id)

    def edit(
        self,
        prompt: str,
        image: bytes,
        options: EditOptions = _EDIT_DEFAULTS,
        *,
        deadline_s: float | None = None,
        request_id: str | None = None,
    ) -> Generated:
        """Return what was made of `image`, an encoded picture."""
        events = self.stream_edit(
            prompt, image, options, deadline_s=deadline_s, request_id=request_id
        )
        return _collected(events)

    def stream_edit(
        self,
        prompt: str,
        image: bytes,
        options: EditOptions = _EDIT_DEFAULTS,
        *,
        deadline_s: float | None = None,
        request_id: str | None = None,
    ) -> Generator[Event, None, None]:
        """Yield the events of one edit as they come."""
        request = edit_request(prompt, image, options)
        return self._events(self._stub.Edit, request, deadline_s, request_id)

    def verify(self, image: bytes, *, deadline_s: float | None = None) -> Report:
        """Return where `image`, an encoded picture, comes from."""
        return to_report(self._call(self._stub.Verify, pb.VerifyRequest(image=image), deadline_s))

    def list_models(self, *, deadline_s: float | None = None) -> tuple[ModelFacts, ...]:
        """Return every served model, the default one first."""
        answer = self._call(self._stub.ListModels, pb.ListModelsRequest(), deadline_s)
        return tuple(to_model(model) for model in answer.models)

    def cancel(self, request_id: str, *, deadline_s: float | None = None) -> bool:
        """Stop a request, whoever made it; return whether it was running."""
        request = pb.CancelRequest(request_id=request_id)
        return bool(self._call(self._stub.Cancel, request, deadline_s).cancelled)

    def _call(self, method: Any, request: Any, deadline_s: float | None) -> Any:
        with _translated():
            return method(request, timeout=deadline_s, metadata=call_metadata(self._api_key))

    def _events(
        self, method: Any, request: Any, deadline_s: float | None, request_id: str | None
    ) -> Generator[Event, None, None]:
        metadata = call_metadata(self._api_key, request_id)
        call = method(request, timeout=deadline_s, metadata=metadata)
        try:
            with _translated():
                for message in call:
                    event = to_event(message)
                    if event is not None:
                        yield event
        finally:
            call.cancel()  # nothing to cancel, unless the reader has left early


def _collected(events: Generator[Event, None, None]) -> Generated:
    collector = Collector()
    with closing(events):
        for event in events:
            collector.add(event)
    return collector.result()


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except grpc.RpcError as error:
        raise error_from(error) from None
