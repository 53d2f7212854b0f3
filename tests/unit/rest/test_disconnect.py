"""Work that ends with its client: who cancelled it, and what is left behind."""

from __future__ import annotations

import asyncio

import pytest

from service.errors import Cancelled
from service.rest.disconnect import run_while_connected


class Client:
    """The receiving side of a request whose body has been read; `leave` ends the connection."""

    def __init__(self) -> None:
        self._has_left = asyncio.Event()
        self.is_waited_for = False

    def leave(self) -> None:
        self._has_left.set()

    async def receive(self):
        self.is_waited_for = True
        try:
            await self._has_left.wait()
        finally:
            self.is_waited_for = False
        return {"type": "http.disconnect"}


class Work:
    """Runs until it is told to end; takes note of its cancellation, which takes it two turns."""

    def __init__(self) -> None:
        self._end = asyncio.Event()
        self.is_running = False
        self.is_cleaned_up = False

    def end(self) -> None:
        self._end.set()

    async def run(self) -> str:
        self.is_running = True
        try:
            await self._end.wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            self.is_cleaned_up = True
            raise
        return "done"


async def running(client, work):
    """Return a task that runs `work` for `client`, and has begun to."""
    task = asyncio.create_task(run_while_connected(work.run(), client.receive))
    while not (work.is_running and client.is_waited_for):
        await asyncio.sleep(0)
    return task


async def test_work_that_ends_first_returns_and_nobody_waits_for_the_client_any_more():
    client, work = Client(), Work()
    task = await running(client, work)
    work.end()
    assert await task == "done"
    await asyncio.sleep(0)
    assert not client.is_waited_for


async def test_work_that_ends_as_its_client_leaves_returns_and_its_caller_goes_on():
    client, work = Client(), Work()

    async def answer_and_go_on() -> str:
        answer = await run_while_connected(work.run(), client.receive)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return answer

    task = asyncio.create_task(answer_and_go_on())
    while not (work.is_running and client.is_waited_for):
        await asyncio.sleep(0)
    client.leave()
    work.end()  # both are woken in one turn of the loop, the watch first
    assert await task == "done"


async def test_work_that_never_waits_returns_without_the_client_being_asked():
    async def at_once():
        return "done"

    assert await run_while_connected(at_once(), Client().receive) == "done"


async def test_a_client_that_leaves_ends_the_work_before_the_caller_goes_on():
    client, work = Client(), Work()
    task = await running(client, work)
    client.leave()
    with pytest.raises(Cancelled):
        await task
    assert work.is_cleaned_up


async def test_a_caller_that_is_cancelled_is_cancelled():
    client, work = Client(), Work()
    task = await running(client, work)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert work.is_cleaned_up


async def test_a_caller_that_is_cancelled_while_its_client_leaves_is_cancelled():
    client, work = Client(), Work()
    task = await running(client, work)
    client.leave()
    while not task.cancelling():
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_error_of_the_work_goes_through():
    async def failing():
        await asyncio.sleep(0)
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        await run_while_connected(failing(), Client().receive)


async def test_the_caller_can_wait_again_after_its_client_has_left():
    client, work = Client(), Work()

    async def answer_the_refusal() -> int:
        with pytest.raises(Cancelled):
            await run_while_connected(work.run(), client.receive)
        async with asyncio.timeout(5):
            await asyncio.sleep(0)
        task = asyncio.current_task()
        assert task is not None
        return task.cancelling()

    task = asyncio.create_task(answer_the_refusal())
    while not work.is_running:
        await asyncio.sleep(0)
    client.leave()
    assert await task == 0
