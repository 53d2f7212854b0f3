"""Keeps a record of every call while it is served, and has spans made from it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import grpc

from service.errors import Cancelled
from service.rpc.interception import INFRASTRUCTURE
from service.rpc.observation import Ending, noting_the_end
from service.rpc.request_identity import request_id_of_call
from service.telemetry import span_table as table
from service.telemetry.request_record import RequestRecord, current_record
from service.telemetry.spans import ServerFacts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection

    from service.rpc.interception import Context
    from service.telemetry.tracing import Tracer

# What the semantic conventions call a method that is none.
_OTHER_METHOD = "_OTHER"
# The codes that the semantic conventions count as errors of a server.
_FAULTS = frozenset(
    {
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
)


class Recording:
    """Health checks and reflection leave no record. `clock`: monotonic seconds, the engine's.

    `methods`: the full names of those that are served. Whoever is turned away before a method is
    looked up may have named anything, which no span repeats.
    """

    def __init__(
        self, tracer: Tracer, clock: Callable[[], float], methods: Collection[str]
    ) -> None:
        self._tracer = tracer
        self._clock = clock
        self._methods = frozenset(methods)

    @asynccontextmanager
    async def recorded(self, method: str, context: Context) -> AsyncIterator[None]:
        """Serve one call with its record in reach of everyone who notes something."""
        if method.startswith(INFRASTRUCTURE):
            yield
            return
        trace = self._tracer.begin(lambda name: _values(context, name))
        record = RequestRecord(self._clock, trace, request_id_of_call())
        token = current_record.set(record)
        ending = Ending()
        try:
            with noting_the_end(context, ending):
                yield
        finally:
            if ending.is_cancelled:
                record.fail(Cancelled.code)
            current_record.reset(token)
            known = method.removeprefix("/") if method in self._methods else _OTHER_METHOD
            self._tracer.finish(record, _facts(known, ending.code))


def _values(context: Context, name: str) -> list[str]:
    metadata = context.invocation_metadata() or ()
    return [value for key, value in metadata if key == name and isinstance(value, str)]


def _facts(method: str, code: grpc.StatusCode) -> ServerFacts:
    attributes = {table.RPC_SYSTEM: "grpc", table.RPC_METHOD: method, table.RPC_STATUS: code.name}
    return ServerFacts(method, attributes, is_fault=code in _FAULTS)
