"""The calls that a shutdown waits for, and the refusal of those that come too late."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from service.errors import Draining
from service.rpc.interception import INFRASTRUCTURE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from service.rpc.interception import Context


class OpenCalls:
    """Counts the calls that run. Health watches, which never end by themselves, do not count."""

    def __init__(self) -> None:
        self._count = 0
        self._is_closed = False
        self._idle = asyncio.Event()
        self._idle.set()

    def close(self) -> None:
        """Refuse every call from now on."""
        self._is_closed = True

    async def wait_until_none(self) -> None:
        """Return when no call runs."""
        await self._idle.wait()

    @asynccontextmanager
    async def counted(self, method: str, context: Context) -> AsyncIterator[None]:  # noqa: ARG002
        """Count one call while it runs; raises Draining after `close`."""
        if method.startswith(INFRASTRUCTURE):
            yield
            return
        if self._is_closed:
            raise Draining("The server is shutting down.")
        self._count += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._count -= 1
            if self._count == 0:
                self._idle.set()
