"""The HTTP/1.1 connection: uvicorn's, with limits that hold while a request arrives (stop 1).

uvicorn's parser keeps what it has of a head without bound and without end, and of several requests
sent at once only the last learns that the connection is gone. Named in uvicorn's table of protocols
by service.bento, because BentoML does not hand uvicorn one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.domain.identity import new_request_id
from service.errors import HeadersTooLarge
from service.rest.error_response import error_response

if TYPE_CHECKING:
    import asyncio

# Above what `header_guard` refuses with an answer: this ends the connection.
MAX_HEAD_BYTES: Final = 64 * 1024
HEAD_TIMEOUT_S: Final = 30.0
# How long what still comes is read and thrown away after a refusal: closing on unread bytes resets
# the connection, and a reset takes the answer with it before the client has read it (RFC 9112,
# section 9.6).
LINGER_S: Final = 2.0


class BoundedHttpProtocol(HttpToolsProtocol):
    """Bounds the size and the time of a request's head; every request ends with its connection."""

    _head_bytes = 0
    _is_in_head = True
    _is_refused = False
    _head_timer: asyncio.TimerHandle | None = None
    _running: Any = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a head."""
        super().connection_made(transport)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        """Take what has arrived, unless the head it belongs to is too long."""
        if self._is_refused:
            return
        if self._is_in_head:
            if self._head_timer is None:
                self._await_head()
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse_head()
                return
            self._head_bytes += len(data)
        super().data_received(data)

    def on_headers_complete(self) -> None:
        """Stop the clock: the body is bounded by the app."""
        self._is_in_head = False
        self._stop_waiting()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Go on with the next head, whose clock starts with its first byte."""
        super().on_message_complete()
        self._is_in_head, self._head_bytes = True, 0

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the request that is being answered, and forget those that wait behind it."""
        self._stop_waiting()
        self.pipeline.clear()
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()
        super().connection_lost(exc)

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def _await_head(self) -> None:
        self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self._give_up)

    def _stop_waiting(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _refuse_head(self) -> None:
        """Answer in our error shape; there is no request yet that the app could answer."""
        self._is_refused = True
        self._stop_waiting()
        if self._running is not None and not self._running.response_complete:
            self.transport.close()  # an answer here would land inside the one that is being written
            return
        error = HeadersTooLarge(f"The head of the request is over {MAX_HEAD_BYTES} bytes.")
        answer = error_response(error, new_request_id())
        lines = [b"HTTP/1.1 431 Request Header Fields Too Large", b"connection: close"]
        lines += [name + b": " + value for name, value in answer.raw_headers]
        self.transport.write(b"\r\n".join([*lines, b"", bytes(answer.body)]))
        self.transport.write_eof()
        self._head_timer = self.loop.call_later(LINGER_S, self._give_up)

    def _give_up(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()
