"""BentoML's adaptive batching: a batchable service behind one that takes single requests.

`bentoml serve loadtests.peers.servers.bentoml_batching:Images --arg threads=2 --arg
max_batch_size=8`
"""

from __future__ import annotations

from typing import Any

import bentoml
from pydantic import BaseModel

from loadtests.peers.servers.wire import GENERATIONS, ImagesRequest, images_answer

_TIMEOUT_S = 300  # as Mintmark's


class Arguments(BaseModel):
    """What `--arg` sets."""

    threads: int
    max_batch_size: int


_ARGUMENTS = bentoml.use_arguments(Arguments)


@bentoml.service(workers=1, traffic={"timeout": _TIMEOUT_S})
class Drawing:
    """Draws whole batches; BentoML decides how long it waits for more."""

    def __init__(self) -> None:
        from loadtests.peers.servers.stock_pipeline import StockPipeline

        self._pipeline = StockPipeline(_ARGUMENTS.threads)

    @bentoml.api(  # type: ignore[untyped-decorator]
        batchable=True,
        max_batch_size=_ARGUMENTS.max_batch_size,
        max_latency_ms=_TIMEOUT_S * 1000,
    )
    def draw(self, requests: list[ImagesRequest]) -> list[dict[str, Any]]:
        """Return the body of an answer for each request."""
        return [images_answer(png) for png in self._pipeline.draw(requests)]


@bentoml.service(workers=1, traffic={"timeout": _TIMEOUT_S})
class Images:
    """Takes single requests: a batchable API takes lists only."""

    drawing = bentoml.depends(Drawing)

    @bentoml.api(route=GENERATIONS)  # type: ignore[untyped-decorator]
    async def generate(self, request: ImagesRequest, /) -> dict[str, Any]:
        """Return the body of the answer."""
        (answer,) = await self.drawing.to_async.draw([request])
        return dict(answer)
