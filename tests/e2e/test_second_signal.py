"""Whoever tells the parent process twice to stop does not want to wait, and loses no promise."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from pathlib import Path

import pytest

from service.client import GenerateOptions, Unavailable
from tests.e2e.crowd import (
    ANSWER_S,
    IMAGES,
    LEFT_S,
    PROMPT,
    SLACK_S,
    VERIFY,
    Crowd,
    body,
    eventually,
    form,
    ledger_is_whole,
    prove,
)
from tests.e2e.raw_http import connected, post
from tests.e2e.server import run_server

ENDLESS_STEPS = 1000


async def ended(crowd: Crowd) -> None:
    """Ask for more than can be drawn in time; expect a whole answer that says why it ends."""
    answer = await crowd.http.post(IMAGES, json=body(1, steps=ENDLESS_STEPS))
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "draining")


async def stream_ended(crowd: Crowd) -> None:
    wanted = body(2, steps=ENDLESS_STEPS, stream=True, partial_images=1)
    async with crowd.http.stream("POST", IMAGES, json=wanted) as answer:
        lines = [line async for line in answer.aiter_lines() if line.startswith("data: ")]
    assert json.loads(lines[-1].removeprefix("data: "))["error"]["code"] == "draining"


async def rpc_ended(crowd: Crowd) -> None:
    options = GenerateOptions(num_inference_steps=ENDLESS_STEPS, guidance_scale=1, seed=3)
    with pytest.raises(Unavailable) as caught:
        await crowd.rpc.generate(PROMPT, options, deadline_s=ANSWER_S)
    assert caught.value.code == "draining"


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_to_the_parent_ends_the_drain(tmp_path: Path, second: signal.Signals):
    settings = {
        "MINTMARK_SERVER__LAME_DUCK_S": "60",
        "MINTMARK_LIMITS__MAX_INFERENCE_STEPS": str(ENDLESS_STEPS),
    }
    with run_server(tmp_path, settings) as server:
        async with Crowd(server) as crowd:
            await crowd.unary(seed=9, steps=2)
            async with asyncio.TaskGroup() as group:
                for each in (ended, stream_ended, rpc_ended):
                    group.create_task(each(crowd))
                await eventually(lambda: crowd.is_busy_with(http=2, rpc=1), within_s=30)
                server.terminate()

                async def is_unready() -> bool:
                    return await asyncio.to_thread(server.probe) == 503

                await eventually(is_unready)
                told_s = time.monotonic()
                server.process.send_signal(second)
            assert time.monotonic() - told_s < SLACK_S
        assert await asyncio.to_thread(server.wait_stopped) == 0
        assert time.monotonic() - told_s < LEFT_S + 2 * SLACK_S
        assert "Traceback" not in server.log()
        assert ledger_is_whole(server.state_dir)
        prove(server.state_dir, crowd.pictures)


async def test_who_does_not_take_an_answer_does_not_hold_a_server_that_was_told_twice(
    tmp_path: Path,
):
    with run_server(tmp_path, {"MINTMARK_SERVER__LAME_DUCK_S": "60"}) as server:
        content, headers = form(b"half of it never comes")
        async with connected(server) as client:
            request = post(VERIFY, content, headers)
            await client.send(request[:-10])
            server.terminate()
            await eventually(lambda: asyncio.to_thread(lambda: server.probe() == 503))
            server.terminate()
            await asyncio.to_thread(server.wait_stopped)
        assert ledger_is_whole(server.state_dir)
