"""The comparison as Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loadtests.peers.options import BASELINE, DESCRIPTIONS
from loadtests.report.table import number, share

if TYPE_CHECKING:
    from collections.abc import Iterator

    from loadtests.peers.comparison import Comparison, Row

# Above this nothing that was measured says much: as for scenarios of `loadtests.run`.
_MAX_OTHERS_SHARE, _MAX_LAG_S = 0.1, 0.05
_HEAD = (
    "", "p50 s", "p95 s", "p99 s", "good / s", "pictures / s", "CPU s / picture",
    "p50", "p95", "p99", "good", "pictures", "CPU", "unanswered",
)  # fmt: skip
_NAMES = ("p50_s", "p95_s", "p99_s", "goodput_per_s", "pictures_per_s", "cpu_s_per_picture")


def markdown(comparison: Comparison) -> str:
    """Return every table, with what has to be known to read them."""
    return "\n".join([*_facts(comparison), *_loads(comparison), *_stages(comparison)]) + "\n"


def warnings_of(comparison: Comparison) -> list[str]:
    """Return why the figures say little; nothing if they can be used."""
    found = []
    if comparison.others_share > _MAX_OTHERS_SHARE:
        found.append(f"Other processes took up to {share(comparison.others_share)} of the machine.")
    if comparison.lag_p99_s > _MAX_LAG_S:
        found.append(f"The generator was up to {comparison.lag_p99_s * 1000:.0f} ms late (p99).")
    return found


def _facts(comparison: Comparison) -> Iterator[str]:
    for warning in warnings_of(comparison):
        yield f"**Not to be relied on.** {warning}\n"
    yield (
        "| | | pictures with credentials | "
        + " | ".join(f"{profile} alone, s" for profile in comparison.objectives_s)
        + " |"
    )
    yield "|---" * (3 + len(comparison.objectives_s)) + "|"
    for subject, alone_s in comparison.alone_s.items():
        cells = [number(alone_s.get(profile)) for profile in comparison.objectives_s]
        signed = share(comparison.signed_share[subject])
        description = {str(name): text for name, text in DESCRIPTIONS.items()}[subject]
        yield _line([subject, description, signed, *cells])
    objectives = [number(each) for each in comparison.objectives_s.values()]
    yield _line(["objective", "the same for all", "", *objectives])


def _loads(comparison: Comparison) -> Iterator[str]:
    cells = dict.fromkeys((row.load, row.fraction) for row in comparison.rows)
    for load, fraction in cells:
        rows = [row for row in comparison.rows if (row.load, row.fraction) == (load, fraction)]
        yield f"\n### {load}, {offered(rows[0])}\n"
        yield _line(list(_HEAD))
        yield "|---" * len(_HEAD) + "|"
        for row in rows:
            yield _line(list(_cells(row)))


def offered(row: Row) -> str:
    """Return what was offered, in words."""
    if row.fraction is None:
        return "all at once"
    return f"{number(row.rate_per_s, 2)} per second ({row.fraction:.0%} of {BASELINE}'s capacity)"


def _cells(row: Row) -> Iterator[str]:
    yield row.subject
    for name in _NAMES:
        figure = row.figures.get(name)
        yield number(None if figure is None else figure.median)
    for name in _NAMES:
        ratio = row.ratios.get(name)
        yield "–" if ratio is None else f"x{number(ratio.median, 2)}"
    yield str(row.unanswered)


def _stages(comparison: Comparison) -> Iterator[str]:
    rows = [row for row in comparison.rows if row.stages_s]
    if not rows:
        return
    stages = list(dict.fromkeys(stage for row in rows for stage in row.stages_s))
    yield "\n### Milliseconds of the clock per picture, by stage\n"
    yield _line(["", "offered", *stages, "CPU, all stages"])
    yield "|---" * (3 + len(stages)) + "|"
    for row in rows:
        cpu = row.figures.get("cpu_s_per_picture")
        values = [number(row.stages_s.get(stage, 0.0) * 1000, 1) for stage in stages]
        whole = number(None if cpu is None else cpu.median * 1000, 1)
        yield _line([row.subject, f"{row.load}, {offered(row)}", *values, whole])


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"
