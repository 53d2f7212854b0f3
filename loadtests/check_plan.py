"""`python -m loadtests.check_plan`: is what the planner predicts what the service does?

Measures a profile of the embedded model here (or takes one), starts the service, offers it the same
arrivals at three rates that the simulation gets, and compares p50, p95 and throughput.
Exit code: 0 if all are within the tolerance, 1 if one is not, 3 if the machine was busy: then
nothing can be said.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np

from loadtests.harness import ImageRequest, Kind, LoadOptions, Planned, offer, percentile
from loadtests.own_server import own_server
from loadtests.server_process import ROOT
from loadtests.targets.http import HttpTarget
from service.config import ServerOptions
from service.engine.options import EngineOptions
from service.planning.arrivals import Poisson
from service.planning.fleet import Demand, Fleet, FleetOptions
from service.planning.profile import read_profile
from service.planning.simulate import Ending, Limits
from service.planning.trials import capacity_per_s
from service.planning.workload import KindCosts, default_kind, price

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loadtests.harness import Sample
    from service.planning.outcome import Outcome

TOLERANCE = 0.15
STEPS = (10, 20)  # the mix: as many of each
_SEED = 20261124
_WARM_UP_REQUESTS = 6
_BUSY_LOAD = 0.5  # beside an idle server and an idle client
_TIMEOUT_S = 280.0  # of clients; below the server's, so that slow answers are seen as such


@dataclass(frozen=True, slots=True)
class Figures:
    """Of one rate. `throughput_per_s`: answers from the first arrival to the last answer."""

    answered: int
    p50_s: float
    p95_s: float
    throughput_per_s: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """One rate, predicted and measured. `lag_p99_s`: by how much the client was late."""

    rate_per_s: float
    predicted: Figures
    measured: Figures
    lag_p99_s: float

    def errors(self) -> dict[str, float]:
        """Return (predicted - measured) / measured of each figure."""
        names = ("p50_s", "p95_s", "throughput_per_s")
        found = {}
        for name in names:
            measured = getattr(self.measured, name)
            found[name] = (getattr(self.predicted, name) - measured) / measured
        return found

    @property
    def is_close(self) -> bool:
        """Tell whether as many were answered, and every figure is within the tolerance."""
        is_same = self.predicted.answered == self.measured.answered
        return is_same and all(abs(error) <= TOLERANCE for error in self.errors().values())


def figures(arrivals_s: Sequence[float], latencies_s: Sequence[float]) -> Figures:
    """Return the figures of answered requests, given when they came and how long they took."""
    if not latencies_s:
        return Figures(0, float("inf"), float("inf"), 0.0)
    ordered = sorted(latencies_s)
    answers_s = [at_s + taken_s for at_s, taken_s in zip(arrivals_s, latencies_s, strict=True)]
    span_s = max(answers_s) - min(arrivals_s)
    return Figures(
        len(ordered), percentile(ordered, 0.5), percentile(ordered, 0.95), len(ordered) / span_s
    )


def predicted(demand: Demand, limits: Limits) -> Figures:
    """Return what the simulation says of one replica."""
    outcome: Outcome = Fleet(demand, FleetOptions(1, limits)).run()
    is_done = outcome.endings == Ending.DONE
    return figures(outcome.arrivals_s[is_done].tolist(), outcome.latencies_s[is_done].tolist())


def measured(samples: Sequence[Sample]) -> Figures:
    """Return what a client saw."""
    done = [sample for sample in samples if sample.kind is Kind.DONE]
    return figures([each.due_s for each in done], [each.latency_s for each in done])


def requests_for(demand: Demand) -> list[Planned]:
    """Return the same demand for a real client: prompts that were never seen, one seed each."""
    return [
        Planned(
            at_s,
            ImageRequest(
                profile=f"{costs.kind.steps} steps",
                prompt=f"a red apple, number {number} at {at_s:.6f}",
                seed=number,
                num_inference_steps=costs.kind.steps,
            ),
        )
        for number, (at_s, costs) in enumerate(
            zip(demand.arrivals_s.tolist(), demand.kinds, strict=True)
        )
    ]


async def _offer(url: str, demand: Demand, duration_s: float) -> Sequence[Sample]:
    options = LoadOptions(
        duration_s=duration_s, max_in_flight=4096, request_timeout_s=_TIMEOUT_S, drain_s=_TIMEOUT_S
    )
    async with HttpTarget(url) as target:
        recording = await offer(requests_for(demand), target, options)
    return recording.samples


def compare(
    url: str, costs: tuple[KindCosts, ...], limits: Limits, rate_per_s: float, duration_s: float
) -> Comparison:
    """Offer one rate to the server at `url` and to the simulation."""
    demand = Demand.draw(Poisson(rate_per_s), costs, duration_s, _SEED)
    samples = asyncio.run(_offer(url, demand, duration_s))
    lags = sorted(sample.lag_s for sample in samples)
    return Comparison(
        rate_per_s, predicted(demand, limits), measured(samples), percentile(lags, 0.99)
    )


def _measure_profile(folder: Path) -> Path:
    """Return a new profile; measured in a process of its own, which leaves no threads behind."""
    path = folder / "profile.json"
    command = [sys.executable, "-m", "service.cli", "profile", "--output", str(path)]
    subprocess.run(command, cwd=ROOT, check=True)
    return path


def _show(comparison: Comparison) -> None:
    errors = comparison.errors()
    click.echo(f"\n{comparison.rate_per_s:.3g} requests/s  {'predicted':>10} {'measured':>10}")
    for name, error in errors.items():
        ours, theirs = (getattr(side, name) for side in (comparison.predicted, comparison.measured))
        click.echo(f"  {name:18} {ours:10.3f} {theirs:10.3f}  {error:+.1%}")
    counts = comparison.predicted.answered, comparison.measured.answered
    click.echo(f"  answered           {counts[0]:10} {counts[1]:10}")
    click.echo(f"  the client was late by {comparison.lag_p99_s * 1000:.1f} ms (p99)")


@click.command()
@click.option("--profile", "profile_path", type=click.Path(path_type=Path, exists=True))
@click.option(
    "--loads", default="0.3,0.6,0.85", help="Shares of what the replica could do at most."
)
@click.option("--duration", "duration_s", default=180.0, help="Seconds a rate.")
@click.option("--json", "json_path", type=click.Path(path_type=Path, dir_okay=False))
def main(profile_path: Path | None, loads: str, duration_s: float, json_path: Path | None) -> None:
    """Compare predictions with the service on this machine."""
    load_average = os.getloadavg()[0]
    engine, server = EngineOptions(), ServerOptions()
    limits = Limits(
        engine.max_batch_rows,
        engine.max_queued_images,
        engine.request_timeout_s,
        server.marking_threads,
    )
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="check-plan-")))
        profile = read_profile(profile_path or _measure_profile(folder))
        default = default_kind(profile)
        kinds = [default.model_copy(update={"steps": steps}) for steps in STEPS]
        costs = price(profile, kinds, engine)
        most_per_s = capacity_per_s(costs)
        url = stack.enter_context(own_server(folder, {})).http_url
        warm_up = Demand(
            np.linspace(0.0, 0.5, _WARM_UP_REQUESTS), [costs[0]] * _WARM_UP_REQUESTS, length_s=1.0
        )
        asyncio.run(_offer(url, warm_up, 1.0))
        found = []
        for share in map(float, loads.split(",")):
            found.append(compare(url, costs, limits, share * most_per_s, duration_s))
            _show(found[-1])
    is_busy = load_average > _BUSY_LOAD
    if json_path is not None:
        content = {
            "load_average": load_average,
            "is_quiet": not is_busy,
            "tolerance": TOLERANCE,
            "profile": profile.model_dump(mode="json"),
            "rates": [asdict(each) | {"errors": each.errors()} for each in found],
        }
        json_path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    if is_busy:
        click.echo(f"\nThe machine was busy (load average {load_average:.2f}): nothing is judged.")
        sys.exit(3)
    is_close = all(each.is_close for each in found)
    click.echo(f"\n{'All' if is_close else 'NOT all'} figures are within {TOLERANCE:.0%}.")
    sys.exit(0 if is_close else 1)


if __name__ == "__main__":
    main()
