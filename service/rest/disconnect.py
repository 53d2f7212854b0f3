"""Work that stops when nobody waits for it any more."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from service.errors import Cancelled

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any

    from starlette.types import Receive

T = TypeVar("T")


async def run_while_connected(work: Coroutine[Any, Any, T], receive: Receive) -> T:
    """Return what `work` returns; cancel it as soon as the client leaves.

    The request body must have been read. Raises Cancelled if the client left, after `work` has
    dealt with its cancellation.
    """
    task = asyncio.ensure_future(work)
    watch = asyncio.ensure_future(client_has_left(receive))
    try:
        await asyncio.wait({task, watch}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise Cancelled("The client left before its answer was ready.")
    finally:
        for running in (task, watch):
            running.cancel()
        await asyncio.gather(task, watch, return_exceptions=True)


async def client_has_left(receive: Receive) -> None:
    """Return when the client leaves. The request body must have been read."""
    while (await receive())["type"] != "http.disconnect":
        pass
