"""SIGTERM in order: turn unready, keep accepting for a while, refuse new connections, stop."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import signal
import socket
import threading
from typing import TYPE_CHECKING

from service.repetition import Repetition

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import FrameType

logger = logging.getLogger(__name__)

_PARENT_LOOK_S = 1.0
_FOR_GOOD_S = 86_400.0


class Termination:
    """Stands in front of the HTTP server's own SIGTERM handler, which stops at once.

    `begin_drain`: turns the worker unready. `lame_duck_s`: seconds from then on in which new
    connections are still accepted, so that load balancers can notice. `listener_fd`: the
    listening socket, which the parent process holds open: unless it is shut down, connections
    that nobody will accept hang in its backlog instead of being refused. `refuse_calls`: has other
    transports refuse new work as soon as this one does.
    """

    def __init__(
        self,
        begin_drain: Callable[[], None],
        lame_duck_s: float,
        listener_fd: int | None,
        *,
        refuse_calls: Callable[[], None] = lambda: None,
    ) -> None:
        self._begin_drain = begin_drain
        self._lame_duck_s = lame_duck_s
        self._listener_fd = listener_fd
        self._refuse_calls = refuse_calls
        self._has_begun = False

    def install(self) -> None:
        """Take over SIGTERM; only on the main thread, where Python allows it.

        To be called on the running event loop, after the HTTP server has set its own handler.
        """
        if threading.current_thread() is not threading.main_thread():
            return
        loop = asyncio.get_running_loop()
        stop_server = signal.getsignal(signal.SIGTERM)

        def on_sigterm(number: int, frame: FrameType | None) -> None:
            def stop() -> None:
                self._refuse_connections()
                self._refuse_calls()
                if callable(stop_server):
                    stop_server(number, frame)

            if self._has_begun:  # whoever asks twice does not want to wait
                loop.call_soon_threadsafe(stop)
                return
            self._has_begun = True
            loop.call_soon_threadsafe(self._begin_drain)
            loop.call_soon_threadsafe(loop.call_later, self._lame_duck_s, stop)

        signal.signal(signal.SIGTERM, on_sigterm)

    def _refuse_connections(self) -> None:
        if self._listener_fd is None:
            return
        try:
            # A copy: the HTTP server still closes the original.
            with socket.socket(fileno=os.dup(self._listener_fd)) as listener:
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
