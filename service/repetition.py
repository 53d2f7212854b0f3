"""A small job that is done again and again in a thread of its own."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_STOP_S = 5.0


class Repetition:
    """Does `job` until it is stopped, in a daemon thread called `name`.

    `job`: blocking; returns the seconds until it is wanted again, and deals with its own errors.
    `first_s`: seconds before the first time. `stop_s`: how long `stop` waits for a job that is
    under way; one that hangs, in a driver or a connection, is left behind.
    """

    def __init__(
        self,
        job: Callable[[], float],
        name: str,
        *,
        first_s: float = 0.0,
        stop_s: float = _STOP_S,
    ) -> None:
        self._job = job
        self._first_s = first_s
        self._stop_s = stop_s
        self._is_stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Do it no more, and wait for the thread as long as was said."""
        self._is_stopping.set()
        self._thread.join(self._stop_s)

    def _run(self) -> None:
        wait_s = self._first_s
        while not self._is_stopping.wait(wait_s):
            wait_s = self._job()
