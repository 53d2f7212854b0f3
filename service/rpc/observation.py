"""Counts, times and logs every call under the name of its method."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc

from service.rpc.interception import INFRASTRUCTURE
from service.telemetry.logging import ACCESS_LOGGER
from service.telemetry.metric_table import RPC_CALL_SECONDS, RPC_CALLS, RPC_IN_FLIGHT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Iterator

    from service.rpc.interception import Context
    from service.telemetry.metrics import Metrics

logger = logging.getLogger(ACCESS_LOGGER)


UNMATCHED = "unmatched"
# Deadlines are rounded up on their way here, and the client's own clock ends the call first.
_DEADLINE_SLACK_S = 0.1


class Observation:
    """Times each call to the end of its answer. `clock`: monotonic seconds.

    `methods`: the full names of those that are served. Whoever is turned away before a method is
    looked up may have named anything, and is counted under one name, so that the number of series
    is bounded.
    """

    def __init__(
        self, metrics: Metrics, clock: Callable[[], float], methods: Collection[str]
    ) -> None:
        self._metrics = metrics
        self._clock = clock
        self._methods = frozenset(methods)

    @asynccontextmanager
    async def observed(self, method: str, context: Context) -> AsyncIterator[None]:
        """Take note of one call, also when it fails or is abandoned."""
        started_s = self._clock()
        is_ours = not method.startswith(INFRASTRUCTURE)
        self._metrics.add(RPC_IN_FLIGHT, int(is_ours))
        ending = Ending()
        try:
            with noting_the_end(context, ending):
                yield
        finally:
            self._metrics.add(RPC_IN_FLIGHT, -int(is_ours))
            known = method if method in self._methods else UNMATCHED
            self._note(known, ending.code, self._clock() - started_s, is_ours=is_ours)

    def _note(
        self, method: str, code: grpc.StatusCode, duration_s: float, *, is_ours: bool
    ) -> None:
        self._metrics.count(RPC_CALLS, method, code.name)
        self._metrics.observe(RPC_CALL_SECONDS, duration_s, method)
        if is_ours:
            facts = {
                "rpc": method,
                "status": code.name,
                "duration_ms": round(duration_s * 1000, 1),
            }
            logger.info("answered", extra=facts)


@dataclass(slots=True)
class Ending:
    """How a call ended. Unknown is what gRPC answers for an error that nobody has put in words."""

    code: grpc.StatusCode = grpc.StatusCode.UNKNOWN
    is_cancelled: bool = False


@contextmanager
def noting_the_end(context: Context, ending: Ending) -> Iterator[None]:
    """Serve one call and write down how it ended."""
    try:
        yield
        # The stubs do not say that it is None unless somebody has set it.
        set_code: grpc.StatusCode | None = context.code()
        ending.code = set_code or grpc.StatusCode.OK
    except asyncio.CancelledError:
        ending.code, ending.is_cancelled = _why_cancelled(context), True
        raise
    except grpc.aio.AbortError:
        ending.code = context.code()
        raise


def _why_cancelled(context: Context) -> grpc.StatusCode:
    """Tell an expired deadline from a client that left: gRPC cancels the handler for both."""
    # The stubs do not say that it is None for a call without a deadline.
    remaining_s: float | None = context.time_remaining()
    is_expired = remaining_s is not None and remaining_s <= _DEADLINE_SLACK_S
    return grpc.StatusCode.DEADLINE_EXCEEDED if is_expired else grpc.StatusCode.CANCELLED
