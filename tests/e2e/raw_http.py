"""HTTP spoken by hand, so that it can be spoken wrongly."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from tests.e2e.server import Server


class Connection:
    """One TCP connection. `send` forgives a server that has closed it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self._writer = writer

    async def send(self, content: bytes) -> None:
        with contextlib.suppress(ConnectionError):
            self._writer.write(content)
            await self._writer.drain()

    async def statuses(self, within_s: float) -> list[int]:
        """Return the status of every answer until the server closes, or `within_s` is over."""
        received = bytearray()
        with contextlib.suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(within_s):
                while piece := await self.reader.read(65536):
                    received += piece
        parts = bytes(received).split(b"HTTP/1.1 ")[1:]
        return [int(part[:3]) for part in parts]

    async def status(self) -> int:
        """Return the status of the next answer; the rest of it stays unread."""
        return int((await self.reader.readuntil(b"\r\n"))[9:12])

    async def answer(self) -> bytes:
        """Return the body of one answer whose length is declared."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        (length,) = (line for line in lines if line.startswith(b"content-length:"))
        return await self.reader.readexactly(int(length.partition(b":")[2]))

    def half_close(self) -> None:
        """Say that nothing more will be sent, and go on listening."""
        self._writer.write_eof()

    def drop(self, *, is_reset: bool = False) -> None:
        """Leave without a word: politely for TCP, or with a reset."""
        if is_reset:
            linger = struct.pack("ii", 1, 0)
            handle = self._writer.get_extra_info("socket")
            handle.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._writer.transport.abort()


@asynccontextmanager
async def connected(server: Server, port: int | None = None) -> AsyncIterator[Connection]:
    """Yield a connection to the server's HTTP port, or to `port`; drop it afterwards."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port or server.http_port)
    connection = Connection(reader, writer)
    try:
        yield connection
    finally:
        connection.drop()


def post(path: str, body: Any, headers: Mapping[str, str | None] | None = None) -> bytes:
    """Return a request; `body` is sent as JSON unless it is bytes. A header of None is left out."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    wanted: dict[str, str | None] = {
        "Host": "mintmark.test",
        "Content-Type": "application/json",
        "Content-Length": str(len(content)),
        **(headers or {}),
    }
    lines = [f"{name}: {value}" for name, value in wanted.items() if value is not None]
    head = "\r\n".join([f"POST {path} HTTP/1.1", *lines, "", ""])
    return head.encode() + content
