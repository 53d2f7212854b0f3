"""What happens to the process itself: too much work, death in the middle, a long stop."""

from __future__ import annotations

import asyncio
import signal
import time
from typing import TYPE_CHECKING

from loadtests.chaos.clients import MIXED
from loadtests.chaos.judgement import BROKEN, Finding, judge_felt
from loadtests.chaos.stage import Report, Setup, Stage, play, report
from loadtests.chaos.traffic import Traffic
from loadtests.harness.request import Kind

if TYPE_CHECKING:
    from pathlib import Path

    from loadtests.chaos.stage import ChaosOptions

_CALLERS = 8
_OVERLOAD = 3.0
_WAITING_IMAGES = 16


async def overload(folder: Path, options: ChaosOptions) -> Report:
    """Offer three times what the server can do, for as long as the options say."""
    setup = Setup(
        folder=folder,
        options=options,
        settings={"MINTMARK_ENGINE__MAX_QUEUED_IMAGES": str(_WAITING_IMAGES)},
    )

    async def fault(stage: Stage) -> None:
        capacity = await _capacity_per_s(stage, 4.0 if options.is_quick else 15.0)
        flood = Traffic(stage.clients, MIXED, _OVERLOAD * capacity, request_timeout_s=600.0)
        began_s = stage.traffic.now_s()
        async with asyncio.TaskGroup() as group:
            group.create_task(flood.run())
            await asyncio.sleep(options.overload_s)
            flood.stop()
            stage.fault_ends_s = stage.traffic.now_s()
        stage.figures["capacity_per_s"] = capacity
        stage.figures["offered_per_s"] = len(flood.samples) / options.overload_s
        done = [sample for sample in flood.samples if sample.kind is Kind.DONE]
        stage.figures["goodput_per_s"] = len(done) / (stage.traffic.now_s() - began_s)
        stage.traffic.take(flood)

    played = await play(setup, fault)
    felt = judge_felt(played.samples, frozenset({"queue_full"}), "refusals")
    return report("overload", played, findings=(felt,))


async def worker_killed(folder: Path, options: ChaosOptions) -> Report:
    """Kill the serving process while it draws for several clients."""
    setup = Setup(folder=folder, options=options, rate_per_s=3.0, recovers_within_s=60.0)

    async def fault(stage: Stage) -> None:
        await stage.traffic.until_busy(1)
        stage.fault_ends_s = stage.traffic.now_s()
        stage.supervisor.signal_worker(signal.SIGKILL)

    played = await play(setup, fault)
    return report(
        "worker-killed",
        played,
        findings=(
            judge_felt(played.samples, BROKEN, "broken connections"),
            judge_deaths(len(played.outages), 1),
        ),
    )


async def worker_frozen(folder: Path, options: ChaosOptions) -> Report:
    """Stop the serving process for some seconds, as a frozen node or a paused container does."""
    frozen_s = 2.0 if options.is_quick else 8.0

    async def fault(stage: Stage) -> None:
        await stage.traffic.until_busy(1)
        stage.supervisor.signal_worker(signal.SIGSTOP)
        await asyncio.sleep(frozen_s)
        stage.supervisor.signal_worker(signal.SIGCONT)

    played = await play(Setup(folder=folder, options=options), fault)
    longest_s = max(sample.service_s for sample in played.samples)
    waited = Finding(
        "the fault was felt: a client waited", longest_s >= frozen_s * 0.9, f"{longest_s:.1f} s"
    )
    return report("worker-frozen", played, findings=(waited, judge_deaths(len(played.outages), 0)))


def judge_deaths(deaths: int, wanted: int) -> Finding:
    """The server ended as often as it was made to, and not once more."""
    return Finding("no death of its own", deaths == wanted, f"{deaths} deaths, {wanted} caused")


async def _capacity_per_s(stage: Stage, for_s: float) -> float:
    """Return how many answers a second come to clients who always ask again at once."""
    began_s = time.monotonic()
    done = 0

    async def ask() -> None:
        nonlocal done
        while time.monotonic() < began_s + for_s:
            request = stage.traffic.draw(MIXED[done % len(MIXED)])
            outcome = await stage.clients.send(request)
            done += outcome.kind is Kind.DONE

    async with asyncio.TaskGroup() as group:
        for _ in range(_CALLERS):
            group.create_task(ask())
    return max(done, 1) / (time.monotonic() - began_s)
