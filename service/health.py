"""What a loaded worker can say of itself: does its engine move, could it sign, is there room."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Protocol

from service.errors import ModelNotReady, QueueFull, SignerNotReady

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from service.engine.watchdog import Stall
    from service.errors import ServiceError

# What must be free again, of the whole queue, before a full one counts as open.
_REOPEN_FREE_SHARE = 0.25
# Until somebody has set another certificate and restarted the server: no sooner than that.
_SIGNER_RETRY_AFTER_S = 60.0


class Engine(Protocol):
    """What is asked of the engine; `service.engine.loop.EngineLoop` is the real one."""

    @property
    def is_alive(self) -> bool:
        """Tell whether its thread runs."""

    def stall(self) -> Stall | None:
        """Return what it is stuck in, or None."""


class QueueGate:
    """Closed from when the queue is full until a quarter of it is free again.

    With one threshold a busy replica would turn unready and ready with every request, and load
    balancers would follow late and wrongly. Only a probe's answer depends on it: a request that
    comes anyway is taken if there is room. `depth`: images that wait now.
    """

    def __init__(self, depth: Callable[[], int], max_images: int) -> None:
        self._depth = depth
        self._closes_at = max_images
        self._opens_at = int(max_images * (1 - _REOPEN_FREE_SHARE))
        self._is_open = True
        self._lock = threading.Lock()

    def is_open(self) -> bool:
        """Tell whether there is room, as of now."""
        depth = self._depth()
        with self._lock:
            if self._is_open:
                self._is_open = depth < self._closes_at
            else:
                self._is_open = depth <= self._opens_at
            return self._is_open


class SignerGate:
    """Closed while the signing certificate does not cover a request that is taken now.

    `left_s`: until the certificate ends. `wait_s`: until it begins, which it has unless the clock
    was put back. `longest_request_s`: how long a request may take.
    """

    def __init__(
        self,
        left_s: Callable[[], float],
        wait_s: Callable[[], float],
        longest_request_s: float,
    ) -> None:
        self._left_s = left_s
        self._wait_s = wait_s
        self._longest_request_s = longest_request_s

    def refusal(self) -> SignerNotReady | None:
        """Return why nothing could be signed, or None."""
        left_s, wait_s = self._left_s(), self._wait_s()
        if wait_s > 0:
            return SignerNotReady(
                f"The signing certificate begins in {wait_s:.0f} s by this machine's clock.",
                retry_after_s=_SIGNER_RETRY_AFTER_S,
            )
        if left_s > self._longest_request_s:
            return None
        reason = "The signing certificate has expired."
        if left_s > 0:
            reason = (
                f"The signing certificate ends in {left_s:.0f} s, which is less than a request may "
                "take."
            )
        return SignerNotReady(reason, retry_after_s=_SIGNER_RETRY_AFTER_S)


class WorkerHealth:
    """Finds the reason why a worker is not live or not ready, if there is one. Never waits.

    `refusals`: each returns why no new work is welcome, or None; asked in this order.
    """

    def __init__(
        self,
        engine: Engine,
        gate: QueueGate,
        refusals: Sequence[Callable[[], ServiceError | None]],
    ) -> None:
        self._engine = engine
        self._gate = gate
        self._refusals = refusals

    def why_not_live(self) -> ServiceError | None:
        """Return why only a restart helps, or None."""
        if not self._engine.is_alive:
            return ModelNotReady("The engine has stopped.")
        stall = self._engine.stall()
        if stall is not None:
            return ModelNotReady(
                f"The engine is stuck: {stall.call} has taken {stall.for_s:.0f} s, and may take "
                f"{stall.allowed_s:.0f} s."
            )
        return None

    def why_not_ready(self) -> ServiceError | None:
        """Return why no new work is welcome, although the worker is live, or None."""
        for refusal in self._refusals:
            reason = refusal()
            if reason is not None:
                return reason
        if not self._gate.is_open():
            return QueueFull("Too many images are waiting.")
        return None
