"""The comparison as one picture: a row for each load, a column for each figure."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import matplotlib as mpl
from matplotlib.figure import Figure

from loadtests.report.plots import STYLE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from loadtests.peers.comparison import Comparison, Row

_SIZE_INCHES = (3.9, 3.0)
# Okabe and Ito's palette, which colour-blind readers tell apart; markers tell them apart as well.
_LOOKS = {
    "mintmark": ("#0072b2", "o"),
    "mintmark-torch": ("#56b4e9", "D"),
    "litserve": ("#e69f00", "s"),
    "plain": ("#d55e00", "^"),
    "bentoml": ("#009e73", "v"),
}
_TITLES = {
    "p50_s": ("latency, p50", "seconds", "log"),
    "p95_s": ("latency, p95", "seconds", "log"),
    "p99_s": ("latency, p99", "seconds", "log"),
    "goodput_per_s": ("answered within the objective", "per second", "linear"),
    "pictures_per_s": ("throughput", "pictures per second", "linear"),
    "cpu_s_per_picture": ("CPU", "seconds per picture", "linear"),
}


def as_png(comparison: Comparison, title: str) -> bytes:
    """Return the picture. Lines are medians over the rounds, bars their lowest and highest."""
    paced = [row for row in comparison.rows if row.fraction is not None]
    loads = list(dict.fromkeys(row.load for row in paced))
    width, height = _SIZE_INCHES
    columns = 3
    lines = -(-len(_TITLES) // columns)
    with mpl.rc_context(STYLE):
        size = (columns * width, max(1, len(loads)) * lines * height)
        figure = Figure(figsize=size, layout="constrained")
        figure.suptitle(title)
        for block, load in enumerate(loads):
            chosen = [row for row in paced if row.load == load]
            for index, name in enumerate(_TITLES):
                place = block * len(_TITLES) + index + 1
                axes = figure.add_subplot(len(loads) * lines, columns, place)
                _draw(axes, chosen, name)
                if index == 0:
                    axes.legend(fontsize=8)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def _draw(axes: Axes, rows: Sequence[Row], name: str) -> None:
    title, unit, scale = _TITLES[name]
    for subject in dict.fromkeys(row.subject for row in rows):
        mine = sorted(
            (row for row in rows if row.subject == subject and name in row.figures),
            key=lambda row: row.rate_per_s or 0.0,
        )
        colour, marker = _LOOKS[subject]
        spreads = [row.figures[name] for row in mine]
        middle = [each.median for each in spreads]
        below = [each.median - each.low for each in spreads]
        above = [each.high - each.median for each in spreads]
        axes.errorbar(
            [row.rate_per_s or 0.0 for row in mine],
            middle,
            yerr=[below, above],
            color=colour,
            marker=marker,
            ms=5,
            lw=1.4,
            elinewidth=0.8,
            capsize=2,
            label=subject,
        )
    axes.set_title(f"{rows[0].load}: {title}", fontsize=10)
    axes.set_xlabel("requests offered per second")
    axes.set_ylabel(unit)
    axes.set_xlim(left=0)
    axes.set_yscale(scale)
    if scale == "linear":
        axes.set_ylim(bottom=0)
