"""The life of one worker: loading, ready, draining, gone; and what probes are told meanwhile."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from service.errors import ConfigurationError, Draining, ModelNotReady
from service.telemetry.metric_table import MODEL_INFO, READY

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.errors import ServiceError
    from service.rest.dependencies import RestDependencies
    from service.telemetry.metrics import Metrics

logger = logging.getLogger(__name__)


class RunningApplication(Protocol):
    """What has been built from the settings; `service.bootstrap.Application` is the real one."""

    rest: RestDependencies

    @property
    def is_alive(self) -> bool:
        """Tell whether the engine still works."""

    async def drain(self) -> None:
        """Refuse new requests and return when the last one has ended."""

    def close(self) -> None:
        """Free everything. Blocking."""


class State(StrEnum):
    """Where a worker is in its life. Only READY takes new work."""

    LOADING = "loading"
    READY = "ready"
    DRAINING = "draining"
    FAILED = "failed"


_LOADING_RETRY_AFTER_S = 5.0


class Lifecycle:
    """Loads in a thread, answers probes, drains once. Used from the event loop only.

    `build`: loads everything; blocking, and called in a thread of its own.
    `give_up`: ends the process after a failed load, so that whoever supervises it notices.
    """

    def __init__(
        self,
        build: Callable[[], RunningApplication],
        give_up: Callable[[], None],
        metrics: Metrics,
    ) -> None:
        self._build = build
        self._give_up = give_up
        self._metrics = metrics
        self._state = State.LOADING
        self._application: RunningApplication | None = None
        self._on_readiness: Callable[[bool], None] = lambda _: None
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
        if self._application is None:
            return self._state is not State.FAILED
        return self._application.is_alive

    def is_ready(self) -> bool:
        """Tell whether new work is welcome."""
        return self._state is State.READY and self.is_live()

    def refusal(self) -> ServiceError:
        """Return the error that says why the worker is not live or not ready."""
        match self._state:
            case State.LOADING:
                return ModelNotReady("The model is loading.", retry_after_s=_LOADING_RETRY_AFTER_S)
            case State.DRAINING:
                return Draining("The server is shutting down.")
            case State.FAILED:
                return ModelNotReady("The server could not start. Its log says why.")
            case State.READY:  # and yet asked: the engine is not alive
                return ModelNotReady("The engine has stopped.")

    def follow_readiness(self, on_change: Callable[[bool], None]) -> None:
        """Have `on_change` told on the event loop whenever the worker turns ready or unready."""
        self._on_readiness = on_change
        on_change(self.is_ready())

    def start(self) -> None:
        """Begin to load. The thread is a daemon: a server told to stop does not wait for it."""
        loop = asyncio.get_running_loop()
        threading.Thread(target=self._load, args=(loop,), name="load", daemon=True).start()

    def begin_drain(self) -> None:
        """Turn unready for good, so that nobody sends new work; what comes is still served."""
        if self._state is State.DRAINING:
            return
        logger.info("draining")
        self._state = State.DRAINING
        self._on_readiness(False)

    async def stop(self) -> None:
        """Let what runs come to its end and free everything. May be called twice."""
        self.begin_drain()
        application, self._application = self._application, None
        if application is None:
            return
        if application.is_alive:
            await application.drain()
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
        self._application = application
        self._state = State.READY
        for spec in application.rest.models.values():
            self._metrics.set(MODEL_INFO, 1.0, spec.model_id, spec.revision)
        self._on_readiness(True)
        logger.info("ready", extra={"models": sorted(application.rest.models)})

    def _fail(self) -> None:
        self._state = State.FAILED
        self._give_up()


def call_soon(loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
    """Run `callback` on `loop` from another thread, unless the loop has ended meanwhile."""
    try:
        loop.call_soon_threadsafe(callback)
    except RuntimeError:
        if not loop.is_closed():
            raise
