"""The plots of a run, each on axes of its own so that they can stand alone or in one picture."""

from __future__ import annotations

import io
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from loadtests.harness.request import Kind

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes

    from loadtests.harness.open_loop import Sample
    from loadtests.result import LoadResult

_SIZE_INCHES = (6.4, 3.6)
# Okabe and Ito's palette, which colour-blind readers tell apart.
_COLOURS = {
    Kind.DONE: "#0072b2",
    Kind.REFUSED: "#e69f00",
    Kind.FAILED: "#d55e00",
    Kind.TIMED_OUT: "#cc79a7",
    Kind.LEFT: "#56b4e9",
    Kind.OVERFLOW: "#000000",
}
_DUE_COLOUR, _SENT_COLOUR, _IDEAL_COLOUR = "#0072b2", "#e69f00", "#999999"
STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "mintmark",
}
# Above this ratio of the largest to the smallest latency only a logarithmic axis shows both.
_LOG_RATIO = 30.0


@dataclass(frozen=True, slots=True)
class Plot:
    """One plot. `name`: for its anchor. `caption`: what is to be seen."""

    name: str
    caption: str
    draw: Callable[[Axes], None]


def plots_of(result: LoadResult, samples: tuple[Sample, ...]) -> list[Plot]:
    """Return the plots that a run has something to show in."""
    plots = [
        Plot("cdf", "Latency of patient clients", lambda axes: _cdf(axes, result, samples)),
        Plot("time", "Every request, by when it was due", lambda a: _over_time(a, result, samples)),
        Plot("flow", "Requests due and done", lambda axes: _flow(axes, result, samples)),
        Plot("in-flight", "Requests under way", lambda axes: _in_flight(axes, result, samples)),
    ]
    if len(result.stages) > 1:
        plots.append(Plot("goodput", "Goodput by offered rate", lambda a: _goodput(a, result)))
    plots.append(Plot("endings", "How requests ended", lambda axes: _endings(axes, samples)))
    return plots


def as_svg(plot: Plot) -> str:
    """Return a plot as an SVG element for HTML."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=_SIZE_INCHES, layout="constrained")
        _on(figure.add_subplot(), plot)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def as_png(plots: list[Plot], title: str) -> bytes:
    """Return all plots in one picture, two to a row."""
    rows = -(-len(plots) // 2)
    width, height = _SIZE_INCHES
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(2 * width, rows * height), layout="constrained")
        figure.suptitle(title)
        for index, plot in enumerate(plots, 1):
            _on(figure.add_subplot(rows, 2, index), plot)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def _on(axes: Axes, plot: Plot) -> None:
    axes.set_title(plot.caption, fontsize=10)
    plot.draw(axes)


def _cdf(axes: Axes, result: LoadResult, samples: tuple[Sample, ...]) -> None:
    counted = [
        each
        for each in samples
        if each.is_patient
        and each.due_s >= result.warmup_s
        and each.kind in {Kind.DONE, Kind.TIMED_OUT}
    ]
    since_due = np.sort([each.latency_s for each in counted])
    since_sent = np.sort([each.service_s for each in counted])
    if counted:
        axes.ecdf(since_due, color=_DUE_COLOUR, label="since due")
        axes.ecdf(since_sent, color=_SENT_COLOUR, ls="--", label="since sent")
        axes.legend(loc="lower right")
    for objective_s in sorted(set(result.objectives_s.values())):
        axes.axvline(objective_s, color=_IDEAL_COLOUR, lw=0.8, ls=":")
    if counted and since_sent[0] > 0 and since_due[-1] / since_sent[0] > _LOG_RATIO:
        axes.set_xscale("log")
    else:
        axes.set_xlim(left=0)
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("seconds" + (" (dotted: objectives)" if result.objectives_s else ""))
    axes.set_ylabel("share of requests")


def _over_time(axes: Axes, result: LoadResult, samples: tuple[Sample, ...]) -> None:
    for kind, colour in _COLOURS.items():
        chosen = [each for each in samples if each.kind is kind]
        if chosen:
            due = [each.due_s for each in chosen]
            latency = [each.latency_s for each in chosen]
            # Not clipped: refusals take no time, and lie on the axis.
            axes.scatter(
                due, latency, s=9, color=colour, label=kind.value, alpha=0.7, lw=0, clip_on=False
            )
    _mark_parts(axes, result)
    axes.set_xlim(0, result.duration_s)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("due, seconds from the beginning")
    axes.set_ylabel("seconds until its end")
    axes.legend(loc="upper left", markerscale=1.8)


def _mark_parts(axes: Axes, result: LoadResult) -> None:
    """Shade the warm-up and draw a line between stages."""
    if result.warmup_s:
        axes.axvspan(0, result.warmup_s, color=_IDEAL_COLOUR, alpha=0.15, lw=0)
    for stage in result.stages[1:]:
        axes.axvline(stage.window.begins_s, color=_IDEAL_COLOUR, lw=0.6)


def _flow(axes: Axes, result: LoadResult, samples: tuple[Sample, ...]) -> None:
    due = np.sort([each.due_s for each in samples])
    ended = np.sort([each.done_s for each in samples if each.kind is Kind.DONE])
    for times, colour, label in ((due, _SENT_COLOUR, "due"), (ended, _DUE_COLOUR, "done")):
        counts = np.arange(len(times) + 1)
        axes.step([0.0, *times], counts, where="post", color=colour, label=label)
    _mark_parts(axes, result)
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("seconds from the beginning")
    axes.set_ylabel("requests so far")
    axes.legend(loc="upper left")


def _in_flight(axes: Axes, result: LoadResult, samples: tuple[Sample, ...]) -> None:
    sent = [each for each in samples if each.kind is not Kind.OVERFLOW]
    changes = sorted([(each.sent_s, 1) for each in sent] + [(each.done_s, -1) for each in sent])
    times = [0.0, *(at_s for at_s, _ in changes)]
    counts = [0, *np.cumsum([change for _, change in changes])]
    axes.step(times, counts, where="post", color=_DUE_COLOUR, lw=1)
    _mark_parts(axes, result)
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("seconds from the beginning")
    axes.set_ylabel("requests")


def _goodput(axes: Axes, result: LoadResult) -> None:
    stages = sorted(result.stages, key=lambda each: each.offered_per_s)
    offered = [each.offered_per_s for each in stages]
    axes.plot([0, offered[-1]], [0, offered[-1]], color=_IDEAL_COLOUR, ls=":", label="offered")
    done = [each.requests_per_s for each in stages]
    axes.plot(offered, done, color=_SENT_COLOUR, marker="s", ms=4, label="done")
    goodput = [each.goodput_per_s for each in stages]
    axes.plot(offered, goodput, color=_DUE_COLOUR, marker="o", ms=4, label="within the objective")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("requests offered per second")
    axes.set_ylabel("requests per second")
    axes.legend(loc="upper left")


def _endings(axes: Axes, samples: tuple[Sample, ...]) -> None:
    counts = Counter((each.kind, each.code) for each in samples)
    ordered = sorted(counts.items(), key=lambda item: item[1])
    names = [f"{kind.value}: {code}" if code else kind.value for (kind, code), _ in ordered]
    values = [count for _, count in ordered]
    bars = axes.barh(names, values, color=[_COLOURS[kind] for (kind, _), _ in ordered], height=0.6)
    axes.bar_label(bars, padding=3)
    axes.grid(visible=False, axis="y")
    axes.margins(x=0.12)
    axes.set_ylim(-0.7, max(len(names), 4) - 0.3)  # a single bar is no wall
    axes.set_xlabel("requests, warm-up included")
