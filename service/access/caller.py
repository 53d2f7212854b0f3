"""Who is calling: a name, what it may do, and how much (stop 1)."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum

from service.errors import Forbidden


class Scope(StrEnum):
    """What a key allows. No scope includes another one."""

    GENERATE = "generate"
    VERIFY = "verify"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class CallerLimits:
    """How much one caller may ask of one process; None means no limit of its own.

    `requests_per_minute`: calls in any 60 s. `concurrent_requests`: generations queued or running
    at once. `queued_seconds`: estimated engine time of those generations together.
    """

    requests_per_minute: int | None = None
    concurrent_requests: int | None = None
    queued_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Caller:
    """Who stands behind a call. Keys of the same name are the same caller."""

    name: str
    scopes: frozenset[Scope]
    limits: CallerLimits = CallerLimits()

    def require(self, scope: Scope) -> None:
        """Raise Forbidden, naming the scope, unless this caller has it."""
        if scope not in self.scopes:
            raise Forbidden(f"This API key does not have the scope '{scope}'.")


# Without keys everybody is this caller, and may do everything.
OPEN_CALLER = Caller("anonymous", frozenset(Scope))

# The caller of the request that the current task serves. A transport sets it once it knows.
current_caller: ContextVar[Caller | None] = ContextVar("current_caller", default=None)
