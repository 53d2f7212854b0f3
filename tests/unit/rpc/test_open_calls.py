"""A shutdown knows which calls to wait for, and which come too late."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from service.errors import Draining
from service.rpc.open_calls import OpenCalls

OURS = "/mintmark.v1.ImageGeneration/Generate"
WATCH = "/grpc.health.v1.Health/Watch"
NO_CONTEXT: Any = None  # it is not looked at


async def test_it_waits_for_the_last_call_and_not_for_a_watch():
    calls = OpenCalls()
    await calls.wait_until_none()
    async with calls.counted(WATCH, NO_CONTEXT), calls.counted(OURS, NO_CONTEXT):
        waiting = asyncio.create_task(calls.wait_until_none())
        async with calls.counted(OURS, NO_CONTEXT):
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not waiting.done()
    await asyncio.wait_for(waiting, 1)


async def test_a_call_that_fails_is_over_too():
    calls = OpenCalls()
    with pytest.raises(RuntimeError):
        async with calls.counted(OURS, NO_CONTEXT):
            raise RuntimeError
    await asyncio.wait_for(calls.wait_until_none(), 1)


async def test_after_the_end_calls_are_refused_and_probes_are_not():
    calls = OpenCalls()
    calls.close()
    with pytest.raises(Draining):
        async with calls.counted(OURS, NO_CONTEXT):
            pass
    async with calls.counted(WATCH, NO_CONTEXT):
        pass
