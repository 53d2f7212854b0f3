"""A request body that can be read twice: in memory if it is small, in a file if it is large."""

from __future__ import annotations

import asyncio
from tempfile import SpooledTemporaryFile
from typing import TYPE_CHECKING

from starlette.requests import ClientDisconnect

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.types import Message, Receive

_IN_MEMORY_BYTES = 1024 * 1024
_PIECE_BYTES = 64 * 1024


class SpooledBody:
    """Keeps a body until it is closed. What is large enough for a file is moved by a thread."""

    def __init__(self) -> None:
        self._spool = SpooledTemporaryFile[bytes](_IN_MEMORY_BYTES)
        self._size_bytes = 0

    async def fill(self, receive: Receive) -> None:
        """Take in everything the client sends, whose size is bounded further out.

        Raises ClientDisconnect.
        """
        is_complete = False
        while not is_complete:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            piece = message.get("body", b"")
            self._size_bytes += len(piece)
            if self._size_bytes > _IN_MEMORY_BYTES:
                await asyncio.to_thread(self._spool.write, piece)
            else:
                self._spool.write(piece)
            is_complete = not message.get("more_body", False)
        self._spool.seek(0)

    def pieces(self) -> Iterator[bytes]:
        """Yield the whole body from its start, then stand at the start again. Blocking."""
        self._spool.seek(0)
        while piece := self._spool.read(_PIECE_BYTES):
            yield piece
        self._spool.seek(0)

    async def next_message(self) -> Message:
        """Return the next piece as the app receives it."""
        if self._size_bytes > _IN_MEMORY_BYTES:
            piece = await asyncio.to_thread(self._spool.read, _PIECE_BYTES)
        else:
            piece = self._spool.read(_PIECE_BYTES)
        more_body = self._spool.tell() < self._size_bytes
        return {"type": "http.request", "body": piece, "more_body": more_body}

    def close(self) -> None:
        """Give the body up. May be called twice."""
        self._spool.close()
