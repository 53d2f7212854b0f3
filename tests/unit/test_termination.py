"""SIGTERM: unready at once, accepting for a while, then refusing, then the server's own stop."""

from __future__ import annotations

import asyncio
import os
import signal
import socket

import pytest

from service.termination import Termination, listener_fd


@pytest.fixture
def stops():
    """Stand where the HTTP server's handler is, and put the old one back."""
    seen: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: seen.append(number))
    yield seen
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


def accepts(listener: socket.socket) -> bool:
    try:
        socket.create_connection(listener.getsockname(), timeout=1).close()
    except ConnectionRefusedError:
        return False
    return True


async def until(condition) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


async def test_connections_are_accepted_for_a_while_then_refused(stops, listener):
    drains: list[str] = []
    Termination(lambda: drains.append("drain"), 0.2, listener.fileno()).install()
    os.kill(os.getpid(), signal.SIGTERM)
    await until(lambda: drains)
    assert accepts(listener)
    assert stops == []
    await until(lambda: stops)
    assert not accepts(listener)
    assert drains == ["drain"]


async def test_a_second_signal_does_not_wait(stops, listener):
    refusals: list[str] = []

    def refuse_calls() -> None:
        refusals.append("calls")

    termination = Termination(lambda: None, 60.0, listener.fileno(), refuse_calls=refuse_calls)
    termination.install()
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.sleep(0.01)
    assert stops == refusals == []
    os.kill(os.getpid(), signal.SIGTERM)
    await until(lambda: stops)
    assert not accepts(listener)
    assert refusals == ["calls"]


async def test_without_a_known_listener_the_server_still_stops(stops):
    Termination(lambda: None, 0.0, None).install()
    os.kill(os.getpid(), signal.SIGTERM)
    await until(lambda: stops)


async def test_a_listener_that_is_gone_does_not_stop_the_stop(stops, listener):
    termination = Termination(lambda: None, 0.0, listener.fileno())
    termination.install()
    listener.close()
    os.kill(os.getpid(), signal.SIGTERM)
    await until(lambda: stops)


async def test_other_threads_leave_signals_alone(stops):
    before = signal.getsignal(signal.SIGTERM)
    await asyncio.to_thread(Termination(lambda: None, 0.0, None).install)
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["worker", "svc", "--fd", "3", "--worker-id", "1"], 3),
        (["worker", "svc"], None),
        (["worker", "--fd"], None),
        (["worker", "--fd", "x"], None),
    ],
)
def test_the_listener_is_found_in_the_command_line(arguments, expected):
    assert listener_fd(arguments) == expected
