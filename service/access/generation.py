"""The use case behind the gate: counted on its caller's account, and shown to its caller only."""

from __future__ import annotations

from contextlib import aclosing, contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator

    from service.access.control import AccessControl
    from service.domain.identity import Deadline, RequestId
    from service.domain.progress import Progress
    from service.domain.request import GenerationRequest
    from service.domain.result import GenerationResult
    from service.domain.stream import StreamEvent
    from service.telemetry.generation import Generation


class GuardedGeneration:
    """A Generation that knows whose requests it runs; the same for every transport.

    `estimate_s`: engine time that a request is thought to take, 0 if nobody knows yet.
    """

    def __init__(
        self,
        inner: Generation,
        access: AccessControl,
        estimate_s: Callable[[GenerationRequest], float],
    ) -> None:
        self._inner = inner
        self._access = access
        self._estimate_s = estimate_s

    async def __call__(
        self, request: GenerationRequest, *, request_id: RequestId, deadline: Deadline
    ) -> GenerationResult:
        """Return what the inner use case returns; raises RateLimited before it is called."""
        with self._admitted(request, request_id):
            return await self._inner(request, request_id=request_id, deadline=deadline)

    async def stream(
        self, request: GenerationRequest, *, request_id: RequestId, deadline: Deadline
    ) -> AsyncGenerator[StreamEvent, None]:
        """Yield what the inner use case yields; raises RateLimited before it begins."""
        with self._admitted(request, request_id):
            events = self._inner.stream(request, request_id=request_id, deadline=deadline)
            async with aclosing(events):
                async for event in events:
                    yield event

    def progress(self, request_id: RequestId) -> Progress | None:
        """Return how far a request of this caller has come; None also for everyone else's."""
        if not self._may_see(request_id):
            return None
        return self._inner.progress(request_id)

    def cancel(self, request_id: RequestId) -> bool:
        """Stop a running request of this caller; tell whether one was running."""
        return self._may_see(request_id) and self._inner.cancel(request_id)

    def _may_see(self, request_id: RequestId) -> bool:
        return self._access.owners.may_see(request_id, self._access.caller())

    @contextmanager
    def _admitted(self, request: GenerationRequest, request_id: RequestId) -> Iterator[None]:
        caller = self._access.caller()
        with self._access.quota.hold(caller, self._estimate_s(request)):
            self._access.owners.claim(request_id, caller)
            try:
                yield
            finally:
                if self._inner.progress(request_id) is None:  # it was never let in
                    self._access.owners.forget(request_id)
