"""A parent that was told twice to stop tells its child, whoever handles the parent's signals."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

# Its own handlers, set after the relay has begun, do nothing: as deaf as a busy supervisor. The
# child answers the first signal that reaches it with its number.
PARENT = textwrap.dedent(
    """
    import signal, subprocess, sys
    from service.signal_relay import SignalRelay

    SignalRelay().start()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: print("parent", flush=True))
    child = (
        "import signal\\n"
        "numbers = (signal.SIGTERM, signal.SIGINT)\\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, numbers)\\n"
        "print('ready', flush=True)\\n"
        "print(signal.Signals(signal.sigwait(numbers)).name, flush=True)"
    )
    subprocess.run([sys.executable, "-c", child], start_new_session=True)
    """
)


@contextmanager
def parent() -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", PARENT]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert line(process) == "ready"
            yield process
        finally:
            process.kill()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def tell(process: subprocess.Popen[str], number: signal.Signals) -> None:
    """Send a signal, and wait until it has been handled."""
    process.send_signal(number)
    assert line(process) == "parent"


@pytest.mark.timeout(30)
@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_the_second_signal_reaches_the_child_and_the_first_does_not(first, second):
    with parent() as process:
        tell(process, first)
        tell(process, signal.SIGHUP)  # had the first been passed on, the child had answered
        process.send_signal(second)
        assert sorted([line(process), line(process)]) == ["SIGINT", "parent"]
        assert process.wait(10) == 0
