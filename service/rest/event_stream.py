"""Server-sent events: kept alive, paced by their reader, ended when the reader leaves (stop 10)."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.responses import Response

from service.errors import Cancelled
from service.rest.disconnect import run_while_connected
from service.rest.json_answer import encoded_pieces

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator

    from starlette.types import Receive, Scope, Send

    from service.rest.json_answer import Part
    from service.rest.options import RestOptions

_KEEPALIVE = b": keepalive\n\n"
_HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-store, no-transform",
    # What nginx, and those who copied it, take as "pass it on as it comes".
    "x-accel-buffering": "no",
}


@dataclass(frozen=True, slots=True)
class ServerSentEvent:
    """One event. `data`: JSON on one line, in parts, so that a picture is encoded while it goes."""

    name: str
    data: tuple[Part, ...]

    def pieces(self) -> Iterator[bytes]:
        """Return the event as it is on the wire."""
        head = f"event: {self.name}\ndata: ".encode("ascii")
        return encoded_pieces((head, *self.data, b"\n\n"))


class EventStream(Response):
    """Sends events as they come.

    The next event is asked for while one is sent, and no further: a slow reader slows the source.
    `events`: ends by itself and turns its errors into events; closing it stops the work.
    `on_end`: called once, however the stream ends.
    """

    def __init__(
        self,
        events: AsyncGenerator[ServerSentEvent, None],
        options: RestOptions,
        on_end: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(headers=_HEADERS)
        del self.headers["content-length"]
        self._events = events
        self._options = options
        self._on_end = on_end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Send every event; stop within one step of the work when the client leaves."""
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            await run_while_connected(self._write(send), receive)
        except Cancelled:  # the client has left: nobody is there to be told
            return
        finally:
            self._on_end()

    async def _write(self, send: Send) -> None:
        paced = _with_pauses(self._events, self._options.keepalive_s)
        async with aclosing(paced):
            async for event in paced:
                for piece in [_KEEPALIVE] if event is None else event.pieces():
                    await self._send_body(send, piece)
        await self._send_body(send, b"", is_last=True)

    async def _send_body(self, send: Send, piece: bytes, *, is_last: bool = False) -> None:
        try:
            async with asyncio.timeout(self._options.write_stall_s):
                await send({"type": "http.response.body", "body": piece, "more_body": not is_last})
        except TimeoutError:
            raise Cancelled("The client does not read its answer.") from None
        await asyncio.sleep(0)  # a turn for everyone else between pieces


async def _with_pauses(
    events: AsyncGenerator[ServerSentEvent, None], pause_s: float
) -> AsyncGenerator[ServerSentEvent | None, None]:
    """Yield what `events` yields, and None whenever it yields nothing for `pause_s` seconds."""
    async with aclosing(events):
        upcoming = asyncio.create_task(_next(events))
        try:
            while True:
                await asyncio.wait([upcoming], timeout=pause_s)
                if not upcoming.done():
                    yield None
                    continue
                event = upcoming.result()
                if event is None:
                    return
                upcoming = asyncio.create_task(_next(events))
                yield event
        finally:
            upcoming.cancel()
            await asyncio.gather(upcoming, return_exceptions=True)


async def _next(events: AsyncGenerator[ServerSentEvent, None]) -> ServerSentEvent | None:
    # A task of its own may not end with StopAsyncIteration.
    return await anext(events, None)
