"""Passes a second SIGTERM or SIGINT of the parent process on to the worker."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from contextlib import suppress
from pathlib import Path

from service.termination import STOP_SIGNALS

logger = logging.getLogger(__name__)

_READ_BYTES = 64


class SignalRelay:
    """Lets the worker know that its parent was told a second time to stop.

    BentoML's parent tells its worker once, and refuses every further command while it waits. It
    sets its handlers after any code of ours has run, so this listens where Python notes every
    signal that has a handler, whoever set it. The worker gets SIGINT: another SIGTERM could melt
    into one that it has not seen yet.
    """

    def __init__(self) -> None:
        self._has_begun = False

    def start(self) -> None:
        """Listen for as long as the process lives; on the main thread only, as Python demands."""
        reader, writer = socket.socketpair()
        writer.setblocking(False)
        before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        if before != -1:  # somebody else's: leave it to them
            signal.set_wakeup_fd(before)
            logger.warning("a second SIGTERM will not reach the worker")
            return
        # The thread keeps both ends open.
        thread = threading.Thread(
            target=self._listen, args=(reader, writer), name="signal-relay", daemon=True
        )
        thread.start()

    def _listen(self, reader: socket.socket, writer: socket.socket) -> None:
        with reader, writer:
            while numbers := reader.recv(_READ_BYTES):
                for number in numbers:
                    self._note(number)

    def _note(self, number: int) -> None:
        if number not in STOP_SIGNALS:
            return
        if self._has_begun:
            for child in _children():
                with suppress(ProcessLookupError):
                    os.kill(child, signal.SIGINT)
        self._has_begun = True


def _children() -> list[int]:
    """Return the processes that the main thread has started; none where there is no /proc."""
    path = Path(f"/proc/self/task/{os.getpid()}/children")
    try:
        return [int(pid) for pid in path.read_text(encoding="ascii").split()]
    except OSError:
        return []
