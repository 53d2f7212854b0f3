"""`mintmark plan`: how many replicas a load needs, and with which limits, by simulation."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from service.config import ServerOptions
from service.engine.options import EngineOptions
from service.errors import ConfigurationError
from service.planning.arrivals import SPECS, Ramp, parse_arrivals
from service.planning.objective import Limit, Objective, parse_objective
from service.planning.profile import read_profile
from service.planning.routing import Routing
from service.planning.scenario import read_scenario
from service.planning.simulate import Limits
from service.planning.trials import Load
from service.planning.workload import default_kind, parse_kind, price

if TYPE_CHECKING:
    from service.planning.arrivals import ArrivalProcess
    from service.planning.profile import Profile
    from service.planning.search import Problem
    from service.planning.trials import Trial
    from service.planning.workload import KindCosts, RequestKind

_ENGINE, _SERVER = EngineOptions(), ServerOptions()
_DEFAULT_REQUESTS = 3000
_SCALING_S, _SCALING_WARM_UP_S, _SCALING_SEEDS = 1500.0, 600.0, 3
_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.option("--profile", "profile_path", type=_FILE, required=True, help="From mintmark profile.")
@click.option("--arrivals", help=f"Requests per second: {'; '.join(SPECS)}.")
@click.option(
    "--request",
    "requests",
    multiple=True,
    help="A kind of request, e.g. steps=20,size=512x512,guided=yes,images=1,weight=3. Repeat it "
    "for a mix; by default one kind with the model's defaults.",
)
@click.option("--scenario", type=_FILE, help="Arrivals and mix from a load-test scenario instead.")
@click.option("--objective", required=True, help="E.g. p99<=3s, goodput>=99%, refusals<=1%.")
@click.option(
    "--routing",
    type=click.Choice([each.value for each in Routing]),
    default=Routing.ROUND_ROBIN.value,
    show_default=True,
    help="What stands before the replicas.",
)
@click.option("--max-replicas", type=click.IntRange(1), default=1000, show_default=True)
@click.option(
    "--max-batch-rows",
    type=click.IntRange(2, 1024),
    default=_ENGINE.max_batch_rows,
    show_default=True,
)
@click.option("--max-queued-images", type=click.IntRange(1), help="By default it is chosen.")
@click.option(
    "--request-timeout", "request_timeout_s", default=_ENGINE.request_timeout_s, show_default=True
)
@click.option("--pin-batch-rows", is_flag=True)
@click.option(
    "--marking-threads",
    type=click.IntRange(1),
    default=_SERVER.marking_threads,
    show_default=True,
)
@click.option("--autoscaling/--no-autoscaling", default=True, help="Whether a target is sought.")
@click.option(
    "--pod-overhead",
    "pod_overhead_s",
    type=click.FloatRange(0),
    default=10.0,
    show_default=True,
    help="Seconds to start a pod before it loads the model.",
)
@click.option("--duration", "duration_s", type=click.FloatRange(1), help="Seconds to simulate.")
@click.option("--seeds", type=click.IntRange(2, 100), default=5, show_default=True)
@click.option("--price", "price_per_hour", type=click.FloatRange(0), help="Of a replica, per hour.")
@click.option("--json", "json_path", type=_FILE, help="Write everything there.")
@click.option("--plot", "plot_path", type=_FILE, help="Draw cost against latency there, as PNG.")
def plan(**options: Any) -> None:
    """Find the cheapest fleet that meets an objective, by simulation of the engine.

    Nothing is started and nothing is measured: the times come from the profile.
    """
    from service.planning.plot import draw  # noqa: PLC0415 - keeps --help fast
    from service.planning.report import describe, to_json  # noqa: PLC0415
    from service.planning.search import find_plan  # noqa: PLC0415

    profile = read_profile(options["profile_path"])
    problem = _problem(profile, options)
    found = find_plan(problem, _announce)
    price_per_hour = options["price_per_hour"]
    click.echo("\n".join(describe(found, problem, price_per_hour)))
    if options["json_path"] is not None:
        content = json.dumps(to_json(found, problem, profile, price_per_hour), indent=2)
        options["json_path"].write_text(content + "\n", encoding="utf-8")
    if options["plot_path"] is not None:
        draw(found, problem, options["plot_path"], price_per_hour)


def _problem(profile: Profile, options: dict[str, Any]) -> Problem:
    from service.planning.search import Problem  # noqa: PLC0415

    process, kinds = _workload(profile, options)
    engine = EngineOptions(
        max_batch_rows=options["max_batch_rows"],
        max_queued_images=options["max_queued_images"] or _ENGINE.max_queued_images,
        request_timeout_s=options["request_timeout_s"],
        pin_batch_rows=options["pin_batch_rows"],
    )
    load = _load(process, price(profile, kinds, engine), options["duration_s"], options["seeds"])
    return Problem(
        load=load,
        objective=_objective(options["objective"]),
        limits=Limits(
            engine.max_batch_rows,
            engine.max_queued_images,
            engine.request_timeout_s,
            options["marking_threads"],
        ),
        routing=Routing(options["routing"]),
        max_replicas=options["max_replicas"],
        is_queue_fixed=options["max_queued_images"] is not None,
        scaling_load=_scaling_load(load) if options["autoscaling"] else None,
        pod_start_s=profile.load_s + options["pod_overhead_s"],
    )


def _workload(
    profile: Profile, options: dict[str, Any]
) -> tuple[ArrivalProcess, tuple[RequestKind, ...]]:
    default = default_kind(profile)
    if (options["arrivals"] is None) == (options["scenario"] is None):
        raise ConfigurationError("Give either --arrivals or --scenario.")
    if options["scenario"] is not None:
        if options["requests"]:
            raise ConfigurationError("A --scenario has its own mix; leave --request out.")
        return read_scenario(options["scenario"], default)
    kinds = tuple(parse_kind(text, default) for text in options["requests"]) or (default,)
    return parse_arrivals(options["arrivals"]), kinds


def _objective(text: str) -> Objective:
    """Return the objective; latency alone could be met by refusing everybody."""
    objective = parse_objective(text)
    if any(limit.name in ("goodput", "refusals") for limit in objective.limits):
        return objective
    return Objective((*objective.limits, Limit("refusals", 0.01)))


def _load(
    process: ArrivalProcess, costs: tuple[KindCosts, ...], duration_s: float | None, seeds: int
) -> Load:
    longest_s = max(each.engine_s for each in costs)
    wanted_s = max(60.0, 30 * longest_s, _DEFAULT_REQUESTS / process.mean_rate_per_s)
    length_s = duration_s or process.length_s or wanted_s
    warm_up_s = min(length_s / 2, max(length_s / 10, 5 * longest_s))
    return Load(process, costs, length_s, warm_up_s, tuple(range(seeds)))


def _scaling_load(load: Load) -> Load:
    """Return the load for as long as an autoscaler needs to settle, unless its length is given."""
    process = load.process
    if isinstance(process, Ramp) or process.length_s is not None or load.duration_s >= _SCALING_S:
        return load
    return replace(
        load,
        duration_s=_SCALING_S,
        warm_up_s=_SCALING_WARM_UP_S,
        seeds=load.seeds[:_SCALING_SEEDS],
    )


def _announce(trial: Trial) -> None:
    name = f"{trial.replicas} replicas"
    if trial.target_s is not None:
        name = f"autoscaling at {trial.target_s:g} s"
    verdict = "enough" if trial.is_enough else f"misses {', '.join(trial.missed)}"
    click.echo(f"{name}: {verdict}", err=True)
