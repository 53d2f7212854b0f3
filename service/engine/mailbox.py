"""Hands what the engine reports to the one task that reads it, in order and bounded."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, Self, TypeVar

from service.domain.stream import StepsTaken

Item = TypeVar("Item")


class Mailbox(Generic[Item]):
    """An unread StepsTaken gives way to a later one; everything else is kept until it is read.

    So it holds no more than the pictures of one request, however slow the reader is. Belongs to one
    event loop.
    """

    def __init__(self) -> None:
        self._items: deque[Item] = deque()
        self._is_closed = False
        self._error: BaseException | None = None
        self._changed = asyncio.Event()

    def put(self, item: Item) -> None:
        """Append `item`. Ignored after `close`."""
        if self._is_closed:
            return
        if isinstance(item, StepsTaken) and self._items and isinstance(self._items[-1], StepsTaken):
            self._items.pop()
        self._items.append(item)
        self._changed.set()

    def close(self, error: BaseException | None = None) -> None:
        """End the reading after what has been put, with `error` if there is one. The first counts.

        An error overtakes whatever is unread: there is nothing to wait for.
        """
        if self._is_closed:
            return
        self._is_closed, self._error = True, error
        self._changed.set()

    def __aiter__(self) -> Self:
        """Return itself: there is one reader."""
        return self

    async def __anext__(self) -> Item:
        """Wait for an item; raise what the mailbox was closed with, or StopAsyncIteration."""
        while self._error is None:
            if self._items:
                return self._items.popleft()
            if self._is_closed:
                raise StopAsyncIteration
            self._changed.clear()
            await self._changed.wait()
        raise self._error
