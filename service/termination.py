"""SIGTERM in order: unready, accepting for a while, refusing, stop; told twice, at once."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import signal
import socket
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.repetition import Repetition

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import FrameType

logger = logging.getLogger(__name__)

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_LAST_WORDS_S = 5.0
_PARENT_LOOK_S = 1.0
_FOR_GOOD_S = 86_400.0


def _nothing() -> None:
    return


@dataclass(frozen=True, slots=True, kw_only=True)
class StopSteps:
    """What the worker does on its way out; called on the event loop.

    `begin_drain`: turns it unready. `refuse_calls`: has other transports refuse new work as soon as
    HTTP does. `end_requests`: answers everything that runs with an error. `give_up`: ends the
    process without ceremony.
    """

    begin_drain: Callable[[], None]
    refuse_calls: Callable[[], None] = _nothing
    end_requests: Callable[[], None] = _nothing
    give_up: Callable[[], None] = _nothing


class Termination:
    """Stands in front of the HTTP server's own SIGTERM handler, which stops at once.

    SIGINT counts as SIGTERM. `lame_duck_s`: seconds from the drain's beginning in which new
    connections are still accepted, so that load balancers can notice. `listener_fd`: the
    listening socket, which the parent process holds open: unless it is shut down, connections
    that nobody will accept hang in its backlog instead of being refused.

    Whoever asks twice does not want to wait: requests are ended, and `last_words_s` later the
    process, if a client does not take its answer or a call of the model does not return.
    """

    def __init__(
        self,
        steps: StopSteps,
        lame_duck_s: float,
        listener_fd: int | None,
        *,
        last_words_s: float = _LAST_WORDS_S,
    ) -> None:
        self._steps = steps
        self._lame_duck_s = lame_duck_s
        self._listener_fd = listener_fd
        self._last_words_s = last_words_s
        self._has_begun = False

    def install(self) -> None:
        """Take over SIGTERM and SIGINT; only on the main thread, where Python allows it.

        To be called on the running event loop, after the HTTP server has set its own handlers.
        """
        if threading.current_thread() is not threading.main_thread():
            return
        loop = asyncio.get_running_loop()
        stop_server = signal.getsignal(signal.SIGTERM)

        def stop() -> None:
            self._refuse_connections()
            self._steps.refuse_calls()
            if callable(stop_server):
                # A second SIGINT would make it skip what frees the engine and the ledger.
                stop_server(signal.SIGTERM, None)

        def end_now() -> None:
            stop()
            self._steps.end_requests()
            loop.call_later(self._last_words_s, self._steps.give_up)

        def on_signal(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - Python's
            if self._has_begun:
                loop.call_soon_threadsafe(end_now)
                return
            self._has_begun = True
            loop.call_soon_threadsafe(self._steps.begin_drain)
            loop.call_soon_threadsafe(loop.call_later, self._lame_duck_s, stop)

        for number in STOP_SIGNALS:
            signal.signal(number, on_signal)

    def _refuse_connections(self) -> None:
        listener_fd, self._listener_fd = self._listener_fd, None  # once
        if listener_fd is None:
            return
        try:
            # A copy: the HTTP server still closes the original.
            with socket.socket(fileno=os.dup(listener_fd)) as listener:
                listener.shutdown(socket.SHUT_RDWR)
        except OSError as error:
            logger.warning("the listening socket could not be shut down: %s", error)


def parent_watch(interval_s: float = _PARENT_LOOK_S) -> Repetition:
    """Return what ends this process, in order, once the one that started it is gone.

    BentoML's worker has a session of its own, so nothing else would: a parent that was killed
    leaves a worker that holds the device and the ports of its successor.
    """
    parent = os.getppid()

    def look() -> float:
        if os.getppid() == parent:
            return interval_s
        logger.error("the parent process is gone; stopping")
        os.kill(os.getpid(), signal.SIGTERM)
        return _FOR_GOOD_S

    return Repetition(look, "parent-watch", first_s=interval_s, stop_s=interval_s)


def listener_fd(arguments: Sequence[str]) -> int | None:
    """Return the value of `--fd` in the worker's command line, or None if it has none."""
    for option, value in itertools.pairwise(arguments):
        if option == "--fd" and value.isdigit():
            return int(value)
    return None
