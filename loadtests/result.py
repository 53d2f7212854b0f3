"""What a run leaves behind as JSON; the schema is `LoadResult.model_json_schema()`."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict

from loadtests.budgets import BudgetLine
from loadtests.environment import Environment
from loadtests.harness.request import Kind
from loadtests.harness.statistics import Figures, Lag
from loadtests.harness.telemetry import ServerFigures
from loadtests.harness.verification import Verification


class DiffusionBenchmark(BaseModel):
    """The same run in the names of the diffusion benchmarks of vLLM-Omni and SGLang.

    Their latencies count from sending, so these do as well; `duration` is the measured window's.
    `failed_requests` has everything that gave no picture, as theirs do, except clients who left.
    """

    model_config = ConfigDict(frozen=True)

    duration: float
    completed_requests: int
    failed_requests: int
    throughput_qps: float
    latency_mean: float
    latency_median: float
    latency_p50: float
    latency_p95: float
    latency_p99: float
    slo_attainment_rate: float | None
    slo_met_success: int | None
    slo_scale: float | None
    request_rate: float
    backend: str
    task: Literal["t2i"] = "t2i"


class LoadResult(BaseModel):
    """One run. `outcome`: "passed", "missed" (a budget) or "invalid" (it says nothing).

    `figures`: of everything after the warm-up. `stages`: of each part that offers one rate, if it
    begins after the warm-up. `profiles`: of each kind of request. `knee_per_s`: the highest rate
    that was offered in a stage which, like all with lower rates, attained 0.95; None without an
    objective, or if the first one misses. `alone_s`: what a request of each profile took by itself.
    `server`: what its metrics gained from the end of the warm-up until the last answer; None if it
    has none. `others_share`: of the machine's cores, what neither the generator nor the server took
    meanwhile; None for a server elsewhere.
    """

    model_config = ConfigDict(frozen=True)

    schema_version: Literal["mintmark.loadtest/1"] = "mintmark.loadtest/1"
    scenario: str
    description: str
    seed: int
    transport: Literal["http", "grpc"]
    target: str
    started_at: datetime
    outcome: Literal["passed", "missed", "invalid"]
    invalid_reasons: list[str]
    duration_s: float
    warmup_s: float
    max_in_flight: int
    peak_in_flight: int
    lag: Lag
    figures: Figures
    stages: list[Figures]
    profiles: dict[str, Figures]
    knee_per_s: float | None
    alone_s: dict[str, float]
    objectives_s: dict[str, float]
    server: ServerFigures | None
    others_share: float | None
    verification: Verification
    budgets: list[BudgetLine]
    diffusion_benchmark: DiffusionBenchmark | None
    environment: Environment

    @property
    def exit_code(self) -> int:
        """Return 0 if every budget was kept, 1 if one was missed, 3 for an invalid run."""
        return {"passed": 0, "missed": 1, "invalid": 3}[self.outcome]


def diffusion_benchmark(
    figures: Figures, *, slo_scale: float | None, has_objective: bool, backend: str
) -> DiffusionBenchmark | None:
    """Return a run in the names of the diffusion benchmarks; None if nothing was answered."""
    if figures.service is None:
        return None
    done = figures.kinds.get(Kind.DONE.value, 0)
    left = figures.kinds.get(Kind.LEFT.value, 0)
    return DiffusionBenchmark(
        duration=figures.window.length_s,
        completed_requests=done,
        failed_requests=figures.offered - done - left,
        throughput_qps=figures.requests_per_s,
        latency_mean=figures.service.mean_s,
        latency_median=figures.service.p50_s,
        latency_p50=figures.service.p50_s,
        latency_p95=figures.service.p95_s,
        latency_p99=figures.service.p99_s,
        slo_attainment_rate=figures.attainment if has_objective else None,
        slo_met_success=figures.within_objective if has_objective else None,
        slo_scale=slo_scale,
        request_rate=figures.offered_per_s,
        backend=backend,
    )


def knee_of(stages: list[Figures], attainment: float = 0.95) -> float | None:
    """Return the highest offered rate up to which every stage kept an attainment."""
    found = None
    for stage in sorted(stages, key=lambda each: each.offered_per_s):
        if stage.attainment is None or stage.attainment < attainment:
            break
        found = stage.offered_per_s
    return found
