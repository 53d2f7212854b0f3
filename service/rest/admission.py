"""Who may call a route: the key, its scope and its rate, asked for before anything is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.access.caller import Scope as AccessScope
from service.access.caller import current_caller
from service.errors import Forbidden, RateLimited
from service.telemetry.metric_table import ADMISSION_REFUSALS

if TYPE_CHECKING:
    from collections.abc import Collection

    from starlette.types import ASGIApp, Receive, Scope, Send

    from service.access.caller import Caller
    from service.access.control import AccessControl
    from service.telemetry.metrics import Metrics

_HEADER = b"authorization"
ANY_SCOPE = frozenset(AccessScope)


class Admission:
    """Lets a request through to one route if its caller has one of `scopes`.

    `is_counted`: whether the request counts against the caller's rate: those that do work do.
    Stands behind the router, so that refusals are counted under their route's name.
    """

    def __init__(
        self,
        app: ASGIApp,
        access: AccessControl,
        metrics: Metrics,
        scopes: Collection[AccessScope],
        is_counted: bool = False,
    ) -> None:
        self._app = app
        self._access = access
        self._metrics = metrics
        self._scopes = scopes
        self._is_counted = is_counted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request as its caller; raises Unauthenticated, Forbidden or RateLimited."""
        caller = self._access.authenticate(_authorization(scope))
        self._check(caller)
        token = current_caller.set(caller)
        try:
            await self._app(scope, receive, send)
        finally:
            current_caller.reset(token)

    def _check(self, caller: Caller) -> None:
        if not caller.scopes.intersection(self._scopes):
            names = " or ".join(f"'{scope}'" for scope in sorted(self._scopes))
            raise Forbidden(f"This API key does not have the scope {names}.")
        if not self._is_counted:
            return
        try:
            self._access.quota.count_call(caller)
        except RateLimited as error:
            self._metrics.count(ADMISSION_REFUSALS, error.code)
            raise


def _authorization(scope: Scope) -> str | None:
    """Return the header's value. Two of them are none: nobody could say whose call it is."""
    values = [value for name, value in scope["headers"] if name == _HEADER]
    return values[0].decode("latin-1") if len(values) == 1 else None
