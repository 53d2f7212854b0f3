"""Plays every cell against every subject, turn by turn, and keeps what was seen."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from loadtests.harness.objective import measure_alone
from loadtests.harness.open_loop import LoadOptions, offer
from loadtests.harness.statistics import lag_of
from loadtests.harness.verification import has_credentials
from loadtests.machine import others_share, read_machine_time
from loadtests.peers.options import BASELINE, Cell, Turn, cells_of, plan_of, turns_of
from loadtests.peers.stages import seconds_by_stage
from loadtests.scenario import PROMPTS

if TYPE_CHECKING:
    from collections.abc import Callable

    from loadtests.harness.open_loop import Planned, Sample
    from loadtests.harness.request import Outcome
    from loadtests.harness.telemetry import Reading
    from loadtests.machine import MachineTime
    from loadtests.peers.fleet import Fleet, Opened
    from loadtests.peers.options import Options

_IDLE_CORES, _IDLE_LOOK_S, _IDLE_WITHIN_S = 0.2, 0.5, 30.0
_TIMEOUT_S = 600.0


@dataclass(frozen=True, slots=True)
class Taken:
    """One cell of one turn.

    `rate_per_s`: offered; None for the burst. `cpu_s`: of all the server's processes, from the
    first request to the last answer. `signed`: pictures with a C2PA store. `stages_s`: seconds by
    stage, of a server that tells.
    """

    turn: Turn
    cell: Cell
    rate_per_s: float | None
    samples: tuple[Sample, ...]
    cpu_s: float
    signed: int
    lag_p99_s: float
    others_share: float
    stages_s: dict[str, float]


@dataclass(frozen=True, slots=True)
class Evidence:
    """A whole comparison. `alone_s`: by turn and profile, the seconds of a request by itself."""

    capacities_per_s: dict[str, float]
    alone_s: list[tuple[Turn, dict[str, float]]]
    taken: list[Taken]


async def run(
    options: Options,
    fleet: Fleet,
    say: Callable[[str], None],
    read_machine: Callable[[], MachineTime] = read_machine_time,
) -> Evidence:
    """Measure the baseline's capacity, then every turn. say: told what comes next.

    Raises ServerFailed and CalibrationFailed.
    """
    say(f"capacity of {BASELINE}")
    capacities = await _capacities(options, fleet, read_machine)
    evidence = Evidence(capacities, [], [])
    for turn in turns_of(options):
        play = _Play(options, fleet, turn, capacities, read_machine)
        say(f"round {turn.round_number + 1} of {options.rounds}: {turn.subject}")
        await play.all_cells(evidence)
    return evidence


def throughput_per_s(samples: tuple[Sample, ...]) -> float:
    """Return the pictures of a burst per second until the last of them came; 0 without any."""
    ends_s = max((each.done_s for each in samples), default=0.0)
    pictures = sum(each.pictures for each in samples)
    return pictures / ends_s if ends_s > 0 else 0.0


async def _capacities(
    options: Options, fleet: Fleet, read_machine: Callable[[], MachineTime]
) -> dict[str, float]:
    """Return the baseline's pictures per second under a burst of each load."""
    turn = Turn(0, BASELINE)
    play = _Play(options, fleet, turn, {}, read_machine)
    found = {}
    async with fleet.open(BASELINE) as opened:
        await warm_up(options, opened)
        for load in options.loads:
            taken = await play.cell(opened, Cell(load, None))
            found[load.name] = throughput_per_s(taken.samples)
    return found


async def warm_up(options: Options, opened: Opened) -> None:
    """Ask for the lightest pictures one by one, then for some at once; none of it counts.

    One by one first: BentoML's batching learns from its first dozen calls how long to wait.
    """
    lightest = min(options.profiles(), key=lambda each: each.num_inference_steps or 0)
    for number in range(options.warmup_requests):
        await opened.target.send(lightest.request(PROMPTS[0], number))
    many = [lightest.request(prompt, 0) for prompt in PROMPTS for _ in range(2)]
    await asyncio.gather(*(opened.target.send(request) for request in many))


class _Play:
    """One turn."""

    def __init__(
        self,
        options: Options,
        fleet: Fleet,
        turn: Turn,
        capacities_per_s: dict[str, float],
        read_machine: Callable[[], MachineTime],
    ) -> None:
        self._options = options
        self._fleet = fleet
        self._turn = turn
        self._capacities_per_s = capacities_per_s
        self._read_machine = read_machine

    async def all_cells(self, evidence: Evidence) -> None:
        """Measure requests alone and every cell; a server that does not come to rest is replaced.

        Work that a server goes on with for clients who gave up must not weigh on the next cell.
        """
        waiting = list(cells_of(self._options))
        is_first = True
        while waiting:
            async with self._fleet.open(self._turn.subject) as opened:
                await warm_up(self._options, opened)
                if is_first:
                    evidence.alone_s.append((self._turn, await self._alone(opened)))
                    is_first = False
                while waiting:
                    evidence.taken.append(await self.cell(opened, waiting.pop(0)))
                    if not await _is_at_rest(opened):
                        break

    async def _alone(self, opened: Opened) -> dict[str, float]:
        profiles, repeats = self._options.profiles(), self._options.alone_repeats
        return await measure_alone(opened.target, profiles, PROMPTS[0], repeats)

    async def cell(self, opened: Opened, cell: Cell) -> Taken:
        """Offer one cell's requests and return what came of them."""
        capacity_per_s = self._capacities_per_s.get(cell.load.name, 0.0)
        plan = plan_of(self._options, cell, self._turn.round_number, capacity_per_s)
        signed = 0

        def count(sample: Sample, outcome: Outcome) -> None:  # noqa: ARG001 - a hook of `offer`
            nonlocal signed
            signed += sum(map(has_credentials, outcome.pictures))

        before, machine_before, cpu_before_s = await self._moment(opened)
        recording = await offer(plan, opened.target, self._bounds(plan), on_outcome=count)
        after, machine_after, cpu_after_s = await self._moment(opened)
        cpu_s = cpu_after_s - cpu_before_s
        return Taken(
            self._turn,
            cell,
            None if cell.fraction is None else cell.fraction * capacity_per_s,
            recording.samples,
            cpu_s,
            signed,
            lag_of(recording.samples).p99_s,
            others_share(machine_before, machine_after, cpu_s),
            seconds_by_stage(before, after),
        )

    def _bounds(self, plan: list[Planned]) -> LoadOptions:
        return LoadOptions(
            duration_s=self._options.duration_s,
            max_in_flight=len(plan) + 1,
            request_timeout_s=_TIMEOUT_S,
            drain_s=self._options.drain_s,
        )

    async def _moment(self, opened: Opened) -> tuple[Reading, MachineTime, float]:
        series = {} if opened.telemetry is None else await opened.telemetry.read()
        return series, self._read_machine(), opened.cpu_s()


async def _is_at_rest(opened: Opened) -> bool:
    """Return whether the server stops computing within half a minute."""
    loop = asyncio.get_running_loop()
    ends_at_s = loop.time() + _IDLE_WITHIN_S
    cpu_s = opened.cpu_s()
    while loop.time() < ends_at_s:
        await asyncio.sleep(_IDLE_LOOK_S)
        now_s = opened.cpu_s()
        if now_s - cpu_s < _IDLE_CORES * _IDLE_LOOK_S:
            return True
        cpu_s = now_s
    return False
