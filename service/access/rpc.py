"""Who calls over gRPC: an interceptor that asks for the same keys and keeps the same limits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc

from service.access.caller import Scope, current_caller

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from service.access.caller import Caller
    from service.access.control import AccessControl

# What needs no key over HTTP either: probes, and what describes the server and its interface.
_PUBLIC = ("/grpc.health.", "/grpc.reflection.", "/inference.GRPCInferenceService/Server")
_HEADER = "authorization"

# What a method of ours needs. None: a key of any scope, and the call, which does no work, is not
# counted. A method that is not listed needs `generate`, so that a forgotten one is closed.
METHOD_SCOPES: Mapping[str, Scope | None] = {
    "Generate": Scope.GENERATE,
    "Edit": Scope.GENERATE,
    "Verify": Scope.VERIFY,
    "ListModels": None,
    "Cancel": None,  # finds only the caller's own requests
    "ModelReady": None,
    "ModelMetadata": None,
    "ModelInfer": Scope.GENERATE,
    "RepositoryIndex": None,
    "RepositoryModelLoad": None,
    "RepositoryModelUnload": None,
}


class AccessInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]
    """Lets a call through if its key has the scope of its method, and counts it.

    Raises ServiceError out of the interception; whatever stands further out gives it its shape.
    """

    def __init__(
        self, access: AccessControl, scopes: Mapping[str, Scope | None] = METHOD_SCOPES
    ) -> None:
        self._access = access
        self._scopes = scopes

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Return the method's own handler, with the caller set for the task of this call.

        Raises Unauthenticated, Forbidden or RateLimited.
        """
        method = handler_call_details.method
        if not method.startswith(_PUBLIC):
            caller = self._access.authenticate(_authorization(handler_call_details))
            self._check(caller, method.rpartition("/")[2])
            # Never reset: a call, its interception included, is a task with a context of its own.
            current_caller.set(caller)
        return await continuation(handler_call_details)

    def _check(self, caller: Caller, method: str) -> None:
        scope = self._scopes.get(method, Scope.GENERATE)
        if scope is not None:
            caller.require(scope)
            self._access.quota.count_call(caller)


def _authorization(details: grpc.HandlerCallDetails) -> str | None:
    """Return the value sent as `authorization`. Two of them are none, as over HTTP."""
    values = [value for name, value in details.invocation_metadata or () if name == _HEADER]
    if len(values) != 1:
        return None
    return values[0] if isinstance(values[0], str) else values[0].decode("latin-1")
