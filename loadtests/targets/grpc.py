"""Asks over gRPC, with this service's own client: every request is a stream of events."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Self

from loadtests.harness.request import ImageRequest, Kind, Outcome
from service.client import AsyncMintmarkClient, FinishedImage, GenerateOptions, MintmarkError
from service.client.results import Preview

if TYPE_CHECKING:
    from types import TracebackType

    from service.client.results import Event

REFUSALS = frozenset({"queue_full", "rate_limited", "draining", "model_not_ready", "storage_full"})


class GrpcTarget:
    """One server; use it as an async context manager. It is also a Verifier.

    `address`: host and port. All calls share one connection, as those of one client program do.
    """

    def __init__(
        self, address: str, *, model: str | None = None, api_key: str | None = None
    ) -> None:
        self._address = address
        self._model = model
        self._api_key = api_key

    async def __aenter__(self) -> Self:
        """Open the connection."""
        self._client = AsyncMintmarkClient(self._address, api_key=self._api_key)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close it."""
        await self._client.close()

    async def send(self, request: ImageRequest) -> Outcome:
        """Ask once, without retries, and return what became of it."""
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        first_event_s: float | None = None
        pictures: list[bytes] = []
        try:
            events = self._client.stream(request.prompt, _options(request, self._model))
            async with aclosing(events):
                async for event in events:
                    if isinstance(event, FinishedImage):
                        pictures.append(event.picture.content)
                    if first_event_s is None and isinstance(event, FinishedImage | Preview):
                        first_event_s = loop.time() - began_s
                    await _take(event, request.read_bytes_per_s)
        except MintmarkError as error:
            code = error.code or f"grpc_{error.status.name.lower()}"
            return Outcome(kind=Kind.REFUSED if code in REFUSALS else Kind.FAILED, code=code)
        if len(pictures) != request.n:
            return Outcome(kind=Kind.FAILED, code="missing_pictures", pictures=tuple(pictures))
        first_event_s = first_event_s if request.is_streamed else None
        return Outcome(kind=Kind.DONE, pictures=tuple(pictures), first_event_s=first_event_s)

    async def verdict(self, content: bytes) -> str:
        """Return "verdict/confidence" over a file. Raises MintmarkError."""
        report = await self._client.verify(content)
        return f"{report.verdict}/{report.confidence}"


def _options(request: ImageRequest, model: str | None) -> GenerateOptions:
    return GenerateOptions(
        model=model,
        n=request.n,
        seed=request.seed,
        size_px=request.size_px,
        num_inference_steps=request.num_inference_steps,
        guidance_scale=request.guidance_scale,
        scheduler=request.scheduler,
        output_format=request.output_format,
        partial_images=request.partial_images if request.is_streamed else None,
    )


async def _take(event: Event, bytes_per_s: int | None) -> None:
    """Let a slow client take its time over a picture; flow control makes the server feel it."""
    if bytes_per_s is not None and isinstance(event, FinishedImage | Preview):
        await asyncio.sleep(len(event.picture.content) / bytes_per_s)
