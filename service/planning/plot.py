"""Cost against latency, as a picture; needs matplotlib, which serving does not."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from service.errors import ConfigurationError
from service.planning.trials import PERCENTS

if TYPE_CHECKING:
    from pathlib import Path

    from service.planning.search import Plan, Problem

_WIDTH_IN, _HEIGHT_IN, _DPI = 7.0, 4.5, 150


def draw(plan: Plan, problem: Problem, path: Path, price_per_hour: float | None) -> None:
    """Write the fleets that were tried as PNG. Raises ConfigurationError without matplotlib."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - an extra
        from matplotlib.figure import Figure  # noqa: PLC0415
    except ImportError as error:
        raise ConfigurationError(
            "A plot needs matplotlib. Install it with: pip install 'mintmark[plan]'"
        ) from error
    price = 1.0 if price_per_hour is None else price_per_hour
    figure = Figure(figsize=(_WIDTH_IN, _HEIGHT_IN), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for trials, marker, line, suffix in (
        (plan.tried, "o", "-", ""),
        (plan.tried_scaled, "s", "", ", autoscaled"),
    ):
        for index, percent in enumerate(PERCENTS):
            points = [
                (trial.mean_replicas * price, trial.percentiles_s[index])
                for trial in sorted(trials, key=lambda each: each.mean_replicas)
                if math.isfinite(trial.percentiles_s[index])
            ]
            if points:
                costs, seconds = zip(*points, strict=True)
                label = f"p{percent:g}{suffix}"
                axes.plot(costs, seconds, marker + line, color=f"C{index}", label=label)
    if problem.objective.latency is not None:
        limit = problem.objective.latency
        axes.axhline(limit.bound, color="grey", linestyle="--", label=str(limit))
    axes.axvline(plan.fixed.mean_replicas * price, color="grey", linestyle=":", label="answer")
    axes.set_yscale("log")
    axes.set_ylabel("latency, s")
    axes.set_xlabel("replica-hours per hour" if price_per_hour is None else "cost per hour")
    axes.legend(fontsize="small")
    figure.savefig(path, format="png")
