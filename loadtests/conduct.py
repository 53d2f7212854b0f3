"""One run from beginning to end: calibrate, offer the load, read the metrics, verify, judge."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from loadtests.budgets import check_budgets
from loadtests.environment import record_environment
from loadtests.harness.mix import plan_requests
from loadtests.harness.objective import measure_alone, objectives_of
from loadtests.harness.open_loop import offer
from loadtests.harness.statistics import Window, figures_of, lag_of
from loadtests.harness.telemetry import compare
from loadtests.harness.verification import PictureSample
from loadtests.machine import others_share, read_machine_time
from loadtests.result import LoadResult, diffusion_benchmark, knee_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from loadtests.environment import Environment
    from loadtests.harness.open_loop import Recording
    from loadtests.harness.request import Target
    from loadtests.harness.telemetry import Reading, ServerFigures, Telemetry
    from loadtests.harness.verification import Verification, Verifier
    from loadtests.machine import MachineTime
    from loadtests.scenario import Loaded, Scenario

_LEAD_S = 0.2


@dataclass(frozen=True, slots=True)
class Subject:
    """What is under load. `name`: for the report. None: it has no metrics, or marks nothing.

    `is_local`: it runs on this machine, so what other processes take is taken from it.
    """

    name: str
    target: Target
    telemetry: Telemetry | None = None
    verifier: Verifier | None = None
    is_local: bool = False


@dataclass(frozen=True, slots=True)
class Conducted:
    """A run's result, and the recording that it was worked out of."""

    result: LoadResult
    recording: Recording


@dataclass(frozen=True, slots=True)
class _Evidence:
    """Everything that was seen of a run."""

    recording: Recording
    alone_s: dict[str, float]
    objectives_s: dict[str, float]
    server: ServerFigures | None
    others_share: float | None
    verification: Verification
    environment: Environment
    started_at: datetime


async def conduct(
    loaded: Loaded,
    subject: Subject,
    *,
    read_machine: Callable[[], MachineTime] = read_machine_time,
) -> Conducted:
    """Return a scenario's result. Bounded by its times, plus calibration and verification.

    Raises CalibrationFailed, and whatever the subject raises.
    """
    scenario = loaded.scenario
    environment = record_environment()  # before the run makes the machine busy
    alone_s, objectives_s = await _objectives(scenario, subject)
    pictures = PictureSample(
        scenario.verify.share if subject.verifier is not None else 0.0,
        max_kept=scenario.verify.at_most,
        seed=scenario.seed,
    )
    plan = plan_requests(
        loaded.arrivals, loaded.workload, duration_s=scenario.duration_s, seed=scenario.seed
    )
    started_at = datetime.now(UTC)
    began_s = asyncio.get_running_loop().time() + _LEAD_S
    async with asyncio.TaskGroup() as group:
        warm_at_s = began_s + scenario.warmup_s
        reading = group.create_task(_read_at(subject.telemetry, read_machine, warm_at_s))
        recording = await offer(
            plan,
            subject.target,
            scenario.load_options(),
            on_outcome=pictures.add,
            began_s=began_s,
        )
    before, after = reading.result(), await _read_at(subject.telemetry, read_machine, began_s)
    is_read = before.series and after.series
    server = compare(before.series, after.series) if is_read else None
    evidence = _Evidence(
        recording,
        alone_s,
        objectives_s,
        server,
        _others_share(before, after, server) if subject.is_local else None,
        await pictures.verify(subject.verifier),
        environment,
        started_at,
    )
    return Conducted(_judged(loaded, subject, evidence), recording)


async def _objectives(
    scenario: Scenario, subject: Subject
) -> tuple[dict[str, float], dict[str, float]]:
    """Return what each profile took alone, and the objective of each; empty if none is wanted."""
    if scenario.objective is None:
        return {}, {}
    profiles = scenario.profiles()
    scaled = scenario.scaled()
    if scaled is None:
        assert scenario.objective.latency_s is not None
        return {}, dict.fromkeys([each.name for each in profiles], scenario.objective.latency_s)
    alone_s = await measure_alone(subject.target, profiles, scenario.prompts[0], scaled.repeats)
    return alone_s, objectives_of(alone_s, profiles, scaled)


@dataclass(frozen=True, slots=True)
class _Moment:
    """The server's counters and the machine's, read together."""

    series: Reading
    machine: MachineTime


async def _read_at(
    telemetry: Telemetry | None, read_machine: Callable[[], MachineTime], at_s: float
) -> _Moment:
    await asyncio.sleep(max(0.0, at_s - asyncio.get_running_loop().time()))
    series = {} if telemetry is None else await telemetry.read()
    return _Moment(series, read_machine())


def _others_share(before: _Moment, after: _Moment, server: ServerFigures | None) -> float | None:
    """Return what other processes took; None if the server's own share is not known."""
    if server is None or server.cpu_s is None:
        return None
    return others_share(before.machine, after.machine, server.cpu_s)


def _judged(loaded: Loaded, subject: Subject, evidence: _Evidence) -> LoadResult:
    scenario, samples = loaded.scenario, evidence.recording.samples
    whole = Window(scenario.warmup_s, scenario.duration_s)
    figures = figures_of(samples, whole, evidence.objectives_s)
    stages = [
        figures_of(samples, Window(stage.begins_s, stage.ends_s), evidence.objectives_s)
        for stage in loaded.arrivals.stages(scenario.duration_s)
        if stage.begins_s >= scenario.warmup_s
    ]
    # A server that marks nothing is not held to it.
    verification = None if subject.verifier is None else evidence.verification
    lines = check_budgets(scenario.budgets, figures, evidence.server, verification)
    is_kept = all(line.is_kept for line in lines)
    reasons = _invalid_reasons(scenario, evidence, is_kept=is_kept)
    scaled = scenario.scaled()
    return LoadResult(
        scenario=scenario.name,
        description=scenario.description,
        seed=scenario.seed,
        transport=scenario.transport,
        target=subject.name,
        started_at=evidence.started_at,
        outcome="invalid" if reasons else "passed" if is_kept else "missed",
        invalid_reasons=reasons,
        duration_s=scenario.duration_s,
        warmup_s=scenario.warmup_s,
        max_in_flight=scenario.max_in_flight,
        peak_in_flight=evidence.recording.peak_in_flight,
        lag=lag_of(samples),
        figures=figures,
        stages=stages,
        profiles={
            profile.name: figures_of(
                [each for each in samples if each.profile == profile.name],
                whole,
                evidence.objectives_s,
            )
            for profile in scenario.profiles()
        },
        knee_per_s=knee_of(stages) if evidence.objectives_s else None,
        alone_s=evidence.alone_s,
        objectives_s=evidence.objectives_s,
        server=evidence.server,
        others_share=evidence.others_share,
        verification=evidence.verification,
        budgets=list(lines),
        diffusion_benchmark=diffusion_benchmark(
            figures,
            slo_scale=None if scaled is None else scaled.scale,
            has_objective=bool(evidence.objectives_s),
            backend=subject.name,
        ),
        environment=evidence.environment,
    )


def _invalid_reasons(scenario: Scenario, evidence: _Evidence, *, is_kept: bool) -> list[str]:
    """Return why the run says nothing about the server; nothing if it does."""
    lag = lag_of(evidence.recording.samples)
    reasons = []
    if lag.p99_s > scenario.max_lag_s:
        reasons.append(
            f"The generator could not keep up: the 99th percentile of its lateness is "
            f"{lag.p99_s * 1000:.0f} ms, above {scenario.max_lag_s * 1000:.0f} ms."
        )
    if not any(sample.due_s >= scenario.warmup_s for sample in evidence.recording.samples):
        reasons.append("No request was due after the warm-up.")
    others = evidence.others_share
    # Budgets that were kept all the same are kept.
    if not is_kept and others is not None and others > scenario.max_others_share:
        reasons.append(
            f"A budget was missed while other processes took {others * 100:.0f} % of this machine."
        )
    return reasons
