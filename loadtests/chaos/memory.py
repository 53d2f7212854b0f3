"""Memory: too little of it for a while, and none lost over many requests."""

from __future__ import annotations

import asyncio
import resource
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from loadtests.chaos.judgement import judge_felt
from loadtests.chaos.memory_slope import (
    Bounds,
    MemoryReading,
    judge_growth,
    judge_slope,
    slope_bytes_per_request,
)
from loadtests.chaos.processes import judge_deaths
from loadtests.chaos.stage import Report, Setup, Stage, play, report
from loadtests.harness.request import ImageRequest
from loadtests.own_server import resized_model

if TYPE_CHECKING:
    from loadtests.chaos.stage import ChaosOptions

_CALLERS = 4
_READINGS = 120
_TINY = ImageRequest(profile="answer", prompt="", seed=0, num_inference_steps=1, guidance_scale=1)
_SIZES_PX = ((64, 64), (512, 512))
# Attention over 4,096 places wants hundreds of megabytes for one step: no pocket of memory that
# smaller pictures have left behind is large enough.
_HUNGRY = ImageRequest(
    profile="answer", prompt="", seed=0, num_inference_steps=1, guidance_scale=1, size_px=(512, 512)
)
_NO_MEMORY = frozenset({"device_out_of_memory"})
_QUICK_HUNGRY, _FULL_HUNGRY = 3, 12
_LEAST_OTHERS = 3
_BETWEEN_S = 0.5
_FELT_S = 30.0


async def memory_pressure(folder: Path, options: ChaosOptions) -> Report:
    """Let the serving process have no more memory than it has, while some clients want more."""
    setup = Setup(
        folder=folder,
        options=options,
        settings={"MINTMARK_MODEL__PATH": str(resized_model(folder / "model", _SIZES_PX))},
        recovers_within_s=60.0,
    )

    async def fault(stage: Stage) -> None:
        worker, began_s = stage.supervisor.worker_pid(), stage.traffic.now_s()
        soft, hard = resource.prlimit(worker, resource.RLIMIT_DATA)
        resource.prlimit(worker, resource.RLIMIT_DATA, (_data_bytes(worker), hard))
        await _want_more(stage, _QUICK_HUNGRY if options.is_quick else _FULL_HUNGRY, began_s)
        with suppress(ProcessLookupError):
            resource.prlimit(worker, resource.RLIMIT_DATA, (soft, hard))
        stage.figures |= Counter(f"then {code}" for code in _answers(stage, began_s))

    played = await play(setup, fault)
    felt = judge_felt(played.samples, _NO_MEMORY, "allocations failed, in typed errors")
    return report("memory-pressure", played, findings=(felt,))


async def _want_more(stage: Stage, hungry: int, began_s: float) -> None:
    """Ask for pictures that need more memory, until the others have asked a few times as well.

    Ends with the server: its successor has no limit, and would draw them for minutes.
    """
    ends_s = began_s + stage.within(_FELT_S)
    asked = 0
    while not stage.supervisor.downtimes and stage.traffic.now_s() < ends_s:
        if asked >= hungry and len(_answers(stage, began_s)) >= asked + _LEAST_OTHERS:
            return
        if asked < hungry:
            await stage.traffic.ask(stage.traffic.draw(_HUNGRY))
            asked += 1
        await asyncio.sleep(_BETWEEN_S)


def _answers(stage: Stage, since_s: float) -> list[str]:
    """Return how every request has ended that was sent from a moment on."""
    return [
        each.code or each.kind.value for each in stage.traffic.samples if each.sent_s >= since_s
    ]


async def memory_flat(folder: Path, options: ChaosOptions) -> Report:
    """Ask for many tiny pictures and watch the memory that the process has for itself."""
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
                    readings.append(MemoryReading(asked, _anonymous_bytes(worker)))
                await stage.traffic.ask(stage.traffic.draw(_TINY))

        began_s = stage.traffic.now_s()
        async with asyncio.TaskGroup() as group:
            for _ in range(_CALLERS):
                group.create_task(ask())
        stage.figures["bytes_per_request"] = slope_bytes_per_request(readings)
        stage.figures["last_bytes"] = readings[-1].resident_bytes
        stage.figures["requests_per_s"] = asked / (stage.traffic.now_s() - began_s)

    setup = Setup(folder=folder, options=options, rate_per_s=0.5)
    played = await play(setup, fault)
    bounds = Bounds.for_requests(options.requests)
    return report(
        "memory-flat",
        played,
        findings=(
            judge_slope(readings, bounds),
            judge_growth(readings, bounds),
            judge_deaths(len(played.outages), 0),
        ),
    )


def _data_bytes(pid: int) -> int:
    """Return what RLIMIT_DATA counts: every private page that may be written."""
    return _status_bytes(pid, "VmData")


def _anonymous_bytes(pid: int) -> int:
    """Return the resident memory without what belongs to files, which the kernel may take back."""
    return _status_bytes(pid, "RssAnon")


def _status_bytes(pid: int, field: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * 1024
    raise LookupError(f"process {pid} has no {field}")
