"""SIGTERM: unready, accepting for a while, refusing, the server's own stop; twice: at once."""

from __future__ import annotations

import asyncio
import os
import signal
import socket

import pytest

from service.termination import StopSteps, Termination, listener_fd


@pytest.fixture
def stops():
    """Stand where the HTTP server's handler is, and put the old one back."""
    seen: list[int] = []
    interrupt = signal.getsignal(signal.SIGINT)
    before = signal.signal(signal.SIGTERM, lambda number, frame: seen.append(number))
    yield seen
    signal.signal(signal.SIGTERM, before)
    signal.signal(signal.SIGINT, interrupt)


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


class Worker:
    """Notes what it is told to do."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def steps(self) -> StopSteps:
        def note(what: str):
            return lambda: self.told.append(what)

        return StopSteps(
            begin_drain=note("drain"),
            refuse_calls=note("refuse"),
            end_requests=note("end"),
            give_up=note("give up"),
        )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_connections_are_accepted_for_a_while_then_refused(stops, listener, number):
    worker = Worker()
    Termination(worker.steps(), 0.2, listener.fileno()).install()
    os.kill(os.getpid(), number)
    await until(lambda: worker.told)
    assert accepts(listener)
    assert stops == []
    await until(lambda: stops)
    assert not accepts(listener)
    assert worker.told == ["drain", "refuse"]


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_ends_what_runs_and_does_not_wait(stops, listener, second):
    worker = Worker()
    Termination(worker.steps(), 60.0, listener.fileno(), last_words_s=60.0).install()
    os.kill(os.getpid(), signal.SIGTERM)
    await until(lambda: worker.told)
    assert stops == []
    os.kill(os.getpid(), second)
    await until(lambda: "end" in worker.told)
    assert not accepts(listener)
    assert worker.told == ["drain", "refuse", "end"]
    assert stops == [signal.SIGTERM]  # the HTTP server frees everything after this one only


async def test_who_is_still_there_after_the_last_words_is_given_up(stops):
    worker = Worker()
    Termination(worker.steps(), 60.0, None, last_words_s=0.05).install()
    os.kill(os.getpid(), signal.SIGTERM)
    await until(lambda: worker.told)
    await asyncio.sleep(0.1)
    assert "give up" not in worker.told  # one signal gives all the time that it takes
    os.kill(os.getpid(), signal.SIGTERM)
    await until(lambda: "give up" in worker.told)


async def test_without_a_known_listener_the_server_still_stops(stops):
    Termination(Worker().steps(), 0.0, None).install()
    os.kill(os.getpid(), signal.SIGTERM)
    await until(lambda: stops)


async def test_a_listener_that_is_gone_does_not_stop_the_stop(stops, listener):
    Termination(Worker().steps(), 0.0, listener.fileno()).install()
    listener.close()
    os.kill(os.getpid(), signal.SIGTERM)
    await until(lambda: stops)


async def test_a_listener_that_has_been_shut_down_is_not_looked_for_again(stops, listener, caplog):
    worker = Worker()
    Termination(worker.steps(), 0.0, listener.fileno()).install()
    os.kill(os.getpid(), signal.SIGTERM)
    await until(lambda: stops)
    listener.close()
    os.kill(os.getpid(), signal.SIGTERM)
    await until(lambda: "end" in worker.told)
    assert caplog.text == ""


async def test_other_threads_leave_signals_alone(stops):
    before = signal.getsignal(signal.SIGTERM)
    await asyncio.to_thread(Termination(Worker().steps(), 0.0, None).install)
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
