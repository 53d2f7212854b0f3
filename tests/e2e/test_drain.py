"""How the real process ends, told to and without a word, and how it begins again."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from grpc_health.v1 import health_pb2

from service.client import Unavailable
from service.provenance.development_ca import DIRECTORY_NAME
from tests.e2e.crowd import (
    ANSWER_S,
    IMAGES,
    LEFT_S,
    SLACK_S,
    Crowd,
    body,
    eventually,
    ledger_is_whole,
    prove,
)
from tests.e2e.server import Server, run_server

LAME_DUCK_S = 1.0
SERVING, NOT_SERVING = (
    health_pb2.HealthCheckResponse.SERVING,
    health_pb2.HealthCheckResponse.NOT_SERVING,
)


async def refused(crowd: Crowd, server: Server) -> bool:
    """Return whether new work is turned away on both ports, and see how."""
    async with httpx.AsyncClient(base_url=server.url, timeout=5) as newcomer:
        try:
            answer = await newcomer.get("/readyz")
        except httpx.ConnectError:  # at once, not after hanging in a backlog
            is_http_refused = True
        else:
            assert answer.status_code == 503
            is_http_refused = False
    try:
        await crowd.rpc.list_models(deadline_s=5)
    except Unavailable:
        return is_http_refused
    return False


@pytest.mark.timeout(240)
async def test_sigterm_under_mixed_load_keeps_every_promise(tmp_path: Path):
    settings = {"MINTMARK_SERVER__LAME_DUCK_S": str(LAME_DUCK_S)}
    with run_server(tmp_path, settings) as server:
        async with Crowd(server) as crowd:
            await crowd.unary(seed=9, steps=2)
            watch = aiter(crowd.health.Watch(health_pb2.HealthCheckRequest()))
            assert (await anext(watch)).status == SERVING
            go_on = asyncio.Event()
            works = [crowd.unary(), crowd.stream(), crowd.rpc_unary(), crowd.rpc_stream()]
            works.append(crowd.upload(crowd.pictures[0], go_on))
            async with asyncio.TaskGroup() as group:
                running = [group.create_task(work) for work in works]
                await eventually(lambda: crowd.is_busy_with(http=3, rpc=2), within_s=30)
                told_s = time.monotonic()
                server.terminate()
                # At once for whoever watches and whoever asks.
                assert (await asyncio.wait_for(anext(watch), 2)).status == NOT_SERVING
                answer = await crowd.http.get("/readyz")
                assert (answer.status_code, answer.json()["error"]["code"]) == (503, "draining")
                assert int(answer.headers["retry-after"]) > 0
                assert (await crowd.http.get("/livez")).status_code == 200
                # A lame duck still takes what comes, also on new connections.
                assert await asyncio.to_thread(server.probe) == 503
                await crowd.unary(seed=5, steps=1)
                await crowd.rpc.list_models(deadline_s=5)
                await eventually(lambda: refused(crowd, server), within_s=20)
                assert time.monotonic() - told_s >= LAME_DUCK_S
                assert not all(task.done() for task in running), "the jobs were too short"
                go_on.set()
            last_answer_s = max(time.monotonic(), told_s + LAME_DUCK_S)
            assert await asyncio.to_thread(server.wait_stopped) == 0
            assert time.monotonic() - last_answer_s < LEFT_S + SLACK_S
        assert "Traceback" not in server.log()
        # Two at least of the stream's three: a preview that cannot carry its marks is left out.
        assert len(crowd.pictures) >= 7
        prove(server.state_dir, crowd.pictures)


def test_a_server_killed_mid_work_starts_again_on_what_it_left(tmp_path: Path):
    settings = {"MINTMARK_STORAGE__KIND": "folder"}
    headers = {"Idempotency-Key": "order-17"}
    with run_server(tmp_path, settings) as server:
        first = link_of(server, body(1, steps=2, response_format="url"))
        authority = authority_of(server.state_dir)
        losers = [
            threading.Thread(target=lose, args=(server, wanted, headers if seed == 2 else {}))
            for seed in range(2, 5)
            for wanted in [body(seed, steps=20, response_format="url")]
        ]
        for each in losers:
            each.start()
        wait_for_a_second_file(server.state_dir / "pictures")
        os.kill(server.worker_pid(), signal.SIGKILL)
        os.killpg(server.process.pid, signal.SIGKILL)
        for each in losers:
            each.join()
    left = tmp_path / "state"
    assert ledger_is_whole(left)
    # A crash in the middle of a write would have left this; its time was over long ago.
    draft = left / "pictures" / f".{'a' * 20}.png.0123456789abcdef"
    draft.write_bytes(b"\x89PNG half a pic")
    os.utime(draft, (0, 0))
    with run_server(tmp_path, settings) as server:
        assert authority_of(left) == authority
        served = httpx.get(f"{server.url}{first.path}", params=first.params)
        assert served.status_code == 200
        again = [
            httpx.post(f"{server.url}{IMAGES}", json=body(2, 3), headers=headers, timeout=ANSWER_S)
            for _ in range(2)
        ]
        assert [answer.status_code for answer in again] == [200, 200]
        # Drawn once: the second is the kept answer, id and all.
        assert again[0].json() == again[1].json()
        ends_at_s = time.monotonic() + 10
        while draft.exists() and time.monotonic() < ends_at_s:
            time.sleep(0.05)
        assert not draft.exists()
        # A write that the kill itself cut short is too young to be removed yet.
        kept = [each for each in (left / "pictures").iterdir() if not each.name.startswith(".")]
    prove(left, [served.content, *(path.read_bytes() for path in kept)])


def link_of(server: Server, wanted: dict[str, Any]) -> httpx.URL:
    answer = httpx.post(f"{server.url}{IMAGES}", json=wanted, timeout=ANSWER_S)
    assert answer.status_code == 200, answer.text
    return httpx.URL(answer.json()["data"][0]["url"])


def lose(server: Server, wanted: dict[str, Any], headers: dict[str, str]) -> None:
    """Ask, and expect either an answer or a connection that breaks."""
    try:
        httpx.post(f"{server.url}{IMAGES}", json=wanted, headers=headers, timeout=ANSWER_S)
    except httpx.TransportError:
        return


def wait_for_a_second_file(folder: Path) -> None:
    """Wait until one of several requests has ended, so that the others are about to."""
    ends_at_s = time.monotonic() + ANSWER_S
    while len(list(folder.iterdir())) < 2:
        assert time.monotonic() < ends_at_s
        time.sleep(0.005)


def authority_of(state_dir: Path) -> dict[str, bytes]:
    folder = state_dir / DIRECTORY_NAME
    return {path.name: path.read_bytes() for path in folder.iterdir()}
