"""The life of one worker: loading, ready, draining, gone; and what probes are told meanwhile."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
import threading
import traceback
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from service.errors import ConfigurationError, Draining, ModelNotReady
from service.telemetry.metric_table import ALIVE, MODEL_INFO, READY

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.errors import ServiceError
    from service.rest.dependencies import RestDependencies
    from service.telemetry.metrics import Metrics

logger = logging.getLogger(__name__)


class RunningApplication(Protocol):
    """What has been built from the settings; `service.bootstrap.Application` is the real one."""

    rest: RestDependencies

    def why_not_live(self) -> ServiceError | None:
        """Return why only a restart helps, or None."""

    def why_not_ready(self) -> ServiceError | None:
        """Return why no new work is welcome, although it is live, or None."""

    async def drain(self) -> None:
        """Refuse new requests and return when the last one has ended."""

    def end_requests(self) -> None:
        """End every request at once, with a typed error, and refuse those that come."""

    def close(self) -> None:
        """Free everything. Blocking."""


class State(StrEnum):
    """Where a worker is in its life. Only READY takes new work."""

    LOADING = "loading"
    READY = "ready"
    DRAINING = "draining"
    FAILED = "failed"


_LOADING_RETRY_AFTER_S = 5.0
_WATCH_S = 0.5


class Lifecycle:
    """Loads in a thread, answers probes, drains once. Used from the event loop only.

    `build`: loads everything; blocking, and called in a thread of its own.
    `give_up`: ends the process after a failed load, so that whoever supervises it notices.
    `startup_budget_s`: how long the load may take before it counts as failed.
    """

    def __init__(
        self,
        build: Callable[[], RunningApplication],
        give_up: Callable[[], None],
        metrics: Metrics,
        *,
        startup_budget_s: float,
    ) -> None:
        self._build = build
        self._give_up = give_up
        self._metrics = metrics
        self._startup_budget_s = startup_budget_s
        self._state = State.LOADING
        self._application: RunningApplication | None = None
        self._on_readiness: Callable[[bool], None] = lambda _: None
        self._last_told = (True, False)  # live and ready, as it was last reported
        self._watching: asyncio.Task[None] | None = None
        self._budget: asyncio.TimerHandle | None = None
        metrics.follow(ALIVE, lambda: float(self.is_live()))
        metrics.follow(READY, lambda: float(self.is_ready()))

    @property
    def state(self) -> State:
        """Return where the worker is in its life."""
        return self._state

    def loaded(self) -> RestDependencies | None:
        """Return what transports need, or None until the model has loaded."""
        return self._application.rest if self._application is not None else None

    def is_live(self) -> bool:
        """Tell whether the worker serves or still may; if not, only a restart helps."""
        return self._why_not_live() is None

    def is_ready(self) -> bool:
        """Tell whether new work is welcome."""
        return self._why_not_ready() is None

    def refusal(self) -> ServiceError:
        """Return the error that says why the worker is not live or, if it is, not ready."""
        reason = self._why_not_ready()
        # It may have become ready since whoever asks has asked.
        return reason or ModelNotReady("The server has just become ready.", retry_after_s=1.0)

    def _why_not_live(self) -> ServiceError | None:
        if self._application is not None:
            return self._application.why_not_live()
        if self._state is State.FAILED:
            return ModelNotReady("The server could not start. Its log says why.")
        return None

    def _why_not_ready(self) -> ServiceError | None:
        not_live = self._why_not_live()
        if not_live is not None:
            return not_live
        if self._state is State.DRAINING:
            return Draining("The server is shutting down.")
        if self._application is None:
            return ModelNotReady("The model is loading.", retry_after_s=_LOADING_RETRY_AFTER_S)
        return self._application.why_not_ready()

    def follow_readiness(self, on_change: Callable[[bool], None]) -> None:
        """Have `on_change` told on the event loop whenever the worker turns ready or unready.

        At once where the worker itself decides it, else within half a second.
        """
        self._on_readiness = on_change
        is_ready = self.is_ready()
        self._last_told = (self._last_told[0], is_ready)
        on_change(is_ready)

    def start(self) -> None:
        """Begin to load. The thread is a daemon: a server told to stop does not wait for it."""
        loop = asyncio.get_running_loop()
        self._watching = loop.create_task(self._watch())
        self._budget = loop.call_later(self._startup_budget_s, self._overrun)
        threading.Thread(target=self._load, args=(loop,), name="load", daemon=True).start()

    def begin_drain(self) -> None:
        """Turn unready for good, so that nobody sends new work; what comes is still served."""
        if self._state is State.DRAINING:
            return
        logger.info("draining")
        self._state = State.DRAINING
        self._tell(is_expected=True)

    def end_requests(self) -> None:
        """Drain without waiting: what runs ends now, with a typed error."""
        self.begin_drain()
        if self._application is not None:
            logger.warning("ending every request: told twice to stop")
            self._application.end_requests()

    async def stop(self) -> None:
        """Let what runs come to its end and free everything. May be called twice."""
        self.begin_drain()
        for timer in (self._watching, self._budget):
            if timer is not None:
                timer.cancel()
        application, self._application = self._application, None
        if application is None:
            return
        await _drain(application)
        await asyncio.to_thread(application.close)
        logger.info("stopped")

    def _load(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            application = self._build()
        except ConfigurationError as error:
            logger.critical("cannot start: %s", error)
            call_soon(loop, self._fail)
        except BaseException as error:  # anything less would load for ever
            logger.critical("cannot start", exc_info=error)
            call_soon(loop, self._fail)
        else:
            # What has been loaded stays: taking it out of the collector's sight cuts pauses that
            # would hold the interpreter lock, and so the engine, for a tenth of a second.
            gc.collect()
            gc.freeze()
            call_soon(loop, lambda: self._accept(application))

    def _accept(self, application: RunningApplication) -> None:
        if self._state is not State.LOADING:  # told to stop meanwhile
            application.close()
            return
        if self._budget is not None:
            self._budget.cancel()
        self._application = application
        self._state = State.READY
        for spec in application.rest.models.values():
            self._metrics.set(MODEL_INFO, 1.0, spec.model_id, spec.revision)
        self._tell(is_expected=True)
        logger.info("ready", extra={"models": sorted(application.rest.models)})

    def _overrun(self) -> None:
        if self._state is not State.LOADING:
            return
        logger.critical(
            "cannot start: loading has taken longer than MINTMARK_SERVER__STARTUP_BUDGET_S, %g s",
            self._startup_budget_s,
        )
        self._fail()

    def _fail(self) -> None:
        if self._state is State.LOADING:  # else it was told to stop meanwhile, or has failed before
            self._state = State.FAILED
            self._tell(is_expected=True)
            self._give_up()

    async def _watch(self) -> None:
        """Notice what changes without anybody's doing: an engine that hangs, time, a full queue."""
        while True:
            self._tell(is_expected=False)
            await asyncio.sleep(_WATCH_S)

    def _tell(self, *, is_expected: bool) -> None:
        """Report how the worker is, if that has changed since the last time.

        `is_expected`: whoever calls says in the log what has happened.
        """
        was_live, was_ready = self._last_told
        is_live, is_ready = self._last_told = (self.is_live(), self.is_ready())
        if is_ready != was_ready:
            self._on_readiness(is_ready)
        if is_expected:
            return
        if was_live and not is_live:
            # What it hangs in is lost with the restart that follows.
            stacks = {"stacks": _stacks()}
            logger.critical("not live: %s", self.refusal().message, extra=stacks)
        elif is_live and not was_live:
            logger.warning("live again")
        elif was_ready and not is_ready:
            logger.warning("not ready: %s", self.refusal().message)
        elif is_ready and not was_ready:
            logger.info("ready again")


async def _drain(application: RunningApplication) -> None:
    """Wait for the last request, unless the engine is dead or dies: it would never end."""
    draining = asyncio.ensure_future(application.drain())
    while not draining.done() and application.why_not_live() is None:
        await asyncio.wait({draining}, timeout=_WATCH_S)
    if draining.done():
        await draining
    else:
        draining.cancel()
        logger.error("not waiting for requests that the engine will never end")


def _stacks() -> str:
    """Return where every thread is, one after the other."""
    frames = sys._current_frames()
    running = [thread for thread in threading.enumerate() if thread.ident in frames]
    return "\n".join(
        f"{thread.name}:\n{''.join(traceback.format_stack(frames[thread.ident or 0]))}"
        for thread in running
    )


def call_soon(loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
    """Run `callback` on `loop` from another thread, unless the loop has ended meanwhile."""
    try:
        loop.call_soon_threadsafe(callback)
    except RuntimeError:
        if not loop.is_closed():
            raise
