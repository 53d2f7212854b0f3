"""The plan for people (a table) and for programs (JSON)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from service.planning.search import OVERLOAD
from service.planning.trials import PERCENTS

if TYPE_CHECKING:
    from service.planning.profile import Profile
    from service.planning.search import Plan, Problem
    from service.planning.trials import Trial

ASSUMPTIONS = (
    "A call takes the median time of the profile; between measured batch sizes on a straight line.",
    "Every request has a prompt that was not seen before, and the empty negative prompt.",
    "Nobody cancels, edits or watches: previews and source pictures cost nothing here.",
    "The network, the web server and the clients take no time; refused requests do not come again.",
    "A full replica stays behind the router; its readiness would take it out after a while.",
    "Replicas do not fail, and all are like the one that was profiled.",
    "Confidence is one-sided 95 % over the seeds (Student's t).",
)
SHOWN = 9  # rows of the table at most, nearest to the answer


def describe(plan: Plan, problem: Problem, price_per_hour: float | None) -> list[str]:
    """Return the plan in lines."""
    lines = [_offered(problem), f"objective    {problem.objective}", ""]
    for each, seconds in zip(problem.load.costs, plan.alone_s, strict=True):
        share = each.kind.weight / sum(other.kind.weight for other in problem.load.costs)
        lines.append(f"  {share:4.0%}  {each.kind}: {seconds:.3g} s on an idle replica")
    lines += ["", *_answer(plan, problem, price_per_hour), ""]
    lines += _table(plan, price_per_hour)
    if not plan.holds_in_overload:
        lines += [
            "",
            f"Under {OVERLOAD:g} times its capacity a replica's answers are late whatever its "
            "queue limit: a full batch takes too long. A smaller max_batch_rows would bound it.",
        ]
    return [*lines, "", "Assumptions", *(f"  - {sentence}" for sentence in ASSUMPTIONS)]


def _offered(problem: Problem) -> str:
    load = problem.load
    return (
        f"offered      {load.process.mean_rate_per_s:.4g} requests/s for {load.duration_s:.4g} s, "
        f"{len(load.seeds)} seeds, the first {load.warm_up_s:.3g} s not counted"
    )


def _answer(plan: Plan, problem: Problem, price_per_hour: float | None) -> list[str]:
    def cost(trial: Trial) -> str:
        held = f"{trial.mean_replicas:.4g} replica-hours per hour"
        if price_per_hour is None:
            return held
        return f"{held}, {trial.mean_replicas * price_per_hour:.4g} per hour"

    lines = [
        f"replicas     {plan.fixed.replicas} ({cost(plan.fixed)}), {problem.routing.value}",
        f"queue limit  MINTMARK_ENGINE__MAX_QUEUED_IMAGES={plan.limits.max_queued_images}",
        f"batch        MINTMARK_ENGINE__MAX_BATCH_ROWS={plan.limits.max_batch_rows}",
    ]
    if plan.scaled is not None:
        lines.append(
            f"autoscaling  autoscaling.targetQueuedSeconds={plan.scaled.target_s:g} "
            f"({cost(plan.scaled)}, {plan.scaled.most_replicas} at most)"
        )
    elif plan.tried_scaled:
        lines.append(
            "autoscaling  no target meets the objective: a replica that is wanted is ready "
            f"{problem.pod_start_s:.3g} s later. Keep the fixed number."
        )
    return lines


def _table(plan: Plan, price_per_hour: float | None) -> list[str]:
    heads = ["replicas", "target s", *(f"p{percent:g} s" for percent in PERCENTS)]
    heads += ["goodput", "refused", "expired", "images/s", "cost/h", ""]
    rows = [heads]
    nearest = sorted(plan.tried, key=lambda trial: abs(trial.replicas - plan.fixed.replicas))
    shown = [*sorted(nearest[:SHOWN], key=lambda each: each.replicas), *plan.tried_scaled]
    chosen = (plan.fixed, plan.scaled)
    rows += [_row(trial, price_per_hour, is_chosen=trial in chosen) for trial in shown]
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    return [
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _row(trial: Trial, price_per_hour: float | None, *, is_chosen: bool) -> list[str]:
    is_fixed = trial.target_s is None
    verdict = "<- cheapest" if is_chosen else "misses " + ", ".join(trial.missed)
    return [
        f"{trial.replicas}" if is_fixed else f"~{trial.mean_replicas:.1f}",
        "" if trial.target_s is None else f"{trial.target_s:g}",
        *(f"{seconds:.3f}" for seconds in trial.percentiles_s),
        f"{trial.goodput:.2%}",
        f"{trial.refusals:.2%}",
        f"{trial.expiries:.2%}",
        f"{trial.images_per_s:.4g}",
        f"{trial.mean_replicas * (1.0 if price_per_hour is None else price_per_hour):.4g}",
        verdict if trial.missed or is_chosen else "enough",
    ]


def to_json(
    plan: Plan, problem: Problem, profile: Profile, price_per_hour: float | None
) -> dict[str, Any]:
    """Return everything, JSON-ready; infinite times (nobody was answered) are null."""
    load = problem.load
    return {
        "format": "mintmark-plan/1",
        "profile": profile.model_dump(mode="json", exclude={"shapes"}),
        "objective": str(problem.objective),
        "routing": problem.routing.value,
        "load": {
            "rate_per_s": load.process.mean_rate_per_s,
            "duration_s": load.duration_s,
            "warm_up_s": load.warm_up_s,
            "seeds": list(load.seeds),
            "requests": plan.requests,
            "mix": [
                each.kind.model_dump() | {"alone_s": alone_s}
                for each, alone_s in zip(load.costs, plan.alone_s, strict=True)
            ],
        },
        "answer": {
            "replicas": plan.fixed.replicas,
            "max_queued_images": plan.limits.max_queued_images,
            "max_batch_rows": plan.limits.max_batch_rows,
            "target_queued_seconds": None if plan.scaled is None else plan.scaled.target_s,
            "holds_in_overload": plan.holds_in_overload,
            "capacity_per_replica_per_s": plan.capacity_per_s,
        },
        "price_per_hour": price_per_hour,
        "tried": [_trial_json(trial) for trial in plan.tried],
        "tried_with_autoscaler": [_trial_json(trial) for trial in plan.tried_scaled],
        "assumptions": list(ASSUMPTIONS),
    }


def _trial_json(trial: Trial) -> dict[str, Any]:
    names = [f"p{percent:g}_s" for percent in PERCENTS]
    seconds = (value if math.isfinite(value) else None for value in trial.percentiles_s)
    worst = {name: value if math.isfinite(value) else None for name, value in trial.worst.items()}
    return {
        "replicas": trial.replicas,
        "target_queued_seconds": trial.target_s,
        "mean_replicas": trial.mean_replicas,
        "most_replicas": trial.most_replicas,
        **dict(zip(names, seconds, strict=True)),
        "goodput": trial.goodput,
        "refusals": trial.refusals,
        "expiries": trial.expiries,
        "images_per_s": trial.images_per_s,
        "certain_to_95_percent": worst,
        "missed": list(trial.missed),
    }
