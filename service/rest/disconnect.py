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
    # The work stays in the caller's own task, as it does inside asyncio.timeout: another one, and
    # the waiting for both, would cost every request more than all of its parsing.
    caller = asyncio.current_task()
    assert caller is not None
    has_left = is_over = False

    def stop(watch: asyncio.Task[None]) -> None:
        nonlocal has_left
        # Removing the callback is too late when the watch has ended in the same turn of the loop.
        if not (is_over or watch.cancelled()):
            has_left = True
            caller.cancel()

    watch = asyncio.create_task(client_has_left(receive))
    watch.add_done_callback(stop)
    try:
        return await work
    except asyncio.CancelledError:
        if has_left and caller.cancelling() == 1:  # nobody else has cancelled the caller as well
            raise Cancelled("The client left before its answer was ready.") from None
        raise
    finally:
        is_over = True
        watch.remove_done_callback(stop)
        watch.cancel()
        if has_left:
            caller.uncancel()


async def client_has_left(receive: Receive) -> None:
    """Return when the client leaves. The request body must have been read."""
    while (await receive())["type"] != "http.disconnect":
        pass
