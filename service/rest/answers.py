"""Finished answers, kept for a while and up to a size, for requests that are made again."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from starlette.types import Message

_ENTRY_BYTES = 1024  # what an entry takes beside its body, generously


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer as it was sent: status line with headers, then the body's pieces."""

    start: Message
    body: tuple[bytes, ...]

    @property
    def is_success(self) -> bool:
        """Tell whether it is one of the 2xx."""
        return bool(200 <= self.start["status"] < 300)  # noqa: PLR2004

    @property
    def size_bytes(self) -> int:
        """Return about how much memory it takes."""
        return sum(map(len, self.body)) + _ENTRY_BYTES


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer, the request that it answers, and when it is forgotten."""

    digest: bytes
    answer: Answer
    expires_at_s: float


class AnswerStore:
    """Keeps answers by key, the least recently used ones going first. Used from the event loop.

    `clock`: monotonic seconds.
    """

    def __init__(self, ttl_s: float, max_bytes: int, clock: Callable[[], float]) -> None:
        self._ttl_s = ttl_s
        self._max_bytes = max_bytes
        self._clock = clock
        self._kept: OrderedDict[Hashable, Kept] = OrderedDict()
        self._size_bytes = 0

    @property
    def size_bytes(self) -> int:
        """Return about how much memory is taken."""
        return self._size_bytes

    def find(self, key: Hashable) -> Kept | None:
        """Return what is kept under `key`, unless its time is over."""
        kept = self._kept.get(key)
        if kept is None:
            return None
        if self._clock() >= kept.expires_at_s:
            self._drop(key)
            return None
        self._kept.move_to_end(key)
        return kept

    def keep(self, key: Hashable, digest: bytes, answer: Answer) -> None:
        """Keep `answer`, if it fits at all, at the price of older ones."""
        self._drop(key)
        if answer.size_bytes > self._max_bytes:
            return
        now_s = self._clock()
        for other in [other for other, kept in self._kept.items() if kept.expires_at_s <= now_s]:
            self._drop(other)
        while self._size_bytes + answer.size_bytes > self._max_bytes:
            self._drop(next(iter(self._kept)))
        self._kept[key] = Kept(digest, answer, now_s + self._ttl_s)
        self._size_bytes += answer.size_bytes

    def _drop(self, key: Hashable) -> None:
        kept = self._kept.pop(key, None)
        if kept is not None:
            self._size_bytes -= kept.answer.size_bytes
