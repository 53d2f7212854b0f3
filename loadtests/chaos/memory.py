"""Memory: too little of it for a while, and none lost over many requests."""

from __future__ import annotations

import asyncio
import resource
from pathlib import Path
from typing import TYPE_CHECKING

from loadtests.chaos.clients import ANSWER
from loadtests.chaos.judgement import (
    Finding,
    MemoryReading,
    judge_memory,
    memory_slope_bytes_per_request,
)
from loadtests.chaos.processes import judge_deaths
from loadtests.chaos.stage import Report, Setup, Stage, play, report
from loadtests.harness.request import ImageRequest, Kind

if TYPE_CHECKING:
    from loadtests.chaos.stage import ChaosOptions

_CALLERS = 4
_READINGS = 60
_QUICK_GROWTH_BYTES = 32 * 2**20
_GROWTH_BYTES = 24 * 2**20
_TINY = ImageRequest(profile="answer", prompt="", seed=0, num_inference_steps=1, guidance_scale=1)
# Many rows at once want memory that was not needed before.
_HUNGRY = ImageRequest(profile="answer", prompt="", seed=0, n=8, num_inference_steps=3)


async def memory_pressure(folder: Path, options: ChaosOptions) -> Report:
    """Let the serving process have no more memory than it has, while clients want more."""
    setup = Setup(folder=folder, options=options, profiles=(ANSWER, _HUNGRY), recovers_within_s=60)

    async def fault(stage: Stage) -> None:
        worker = stage.supervisor.worker_pid()
        _, hard = resource.prlimit(worker, resource.RLIMIT_AS)
        resource.prlimit(worker, resource.RLIMIT_AS, (_size_bytes(worker, 0), hard))
        await asyncio.sleep(stage.within(5.0 if options.is_quick else 20.0))
        if not stage.supervisor.downtimes:
            resource.prlimit(worker, resource.RLIMIT_AS, (hard, hard))

    played = await play(setup, fault)
    failed = [each for each in played.samples if each.kind is not Kind.DONE]
    deaths = len(played.outages)
    felt = Finding(
        "the fault was felt: errors, or a death",
        bool(failed or deaths),
        f"{len(failed)} errors, {deaths} deaths",
    )
    return report("memory-pressure", played, findings=(felt,))


async def memory_flat(folder: Path, options: ChaosOptions) -> Report:
    """Ask for many tiny pictures and watch the resident memory."""
    readings: list[MemoryReading] = []

    async def fault(stage: Stage) -> None:
        worker = stage.supervisor.worker_pid()
        every = max(1, options.requests // _READINGS)
        asked = 0

        async def ask() -> None:
            nonlocal asked
            while asked < options.requests:
                asked += 1
                if asked % every == 0:
                    readings.append(MemoryReading(asked, _size_bytes(worker, 1)))
                await stage.traffic.ask(stage.traffic.draw(_TINY))

        async with asyncio.TaskGroup() as group:
            for _ in range(_CALLERS):
                group.create_task(ask())
        stage.figures["bytes_per_request"] = memory_slope_bytes_per_request(readings)
        stage.figures["resident_bytes"] = readings[-1].resident_bytes

    setup = Setup(folder=folder, options=options, rate_per_s=0.5)
    played = await play(setup, fault)
    at_most_bytes = _QUICK_GROWTH_BYTES if options.is_quick else _GROWTH_BYTES
    return report(
        "memory-flat",
        played,
        findings=(judge_memory(readings, at_most_bytes), judge_deaths(len(played.outages), 0)),
    )


def _size_bytes(pid: int, field: int) -> int:
    """Return a process's memory: 0 is all addresses, 1 what is resident."""
    pages = Path(f"/proc/{pid}/statm").read_text().split()[field]
    return int(pages) * resource.getpagesize()
