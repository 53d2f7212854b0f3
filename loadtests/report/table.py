"""The rows that both the terminal and the HTML report show."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

if TYPE_CHECKING:
    from rich.console import Console

    from loadtests.harness.statistics import Figures, Latency
    from loadtests.result import LoadResult

Rows = list[tuple[str, ...]]
BUDGET_HEAD = ("Budget", "", "Limit", "Measured", "")
FIGURE_HEAD = (
    "",
    "Offered /s",
    "Done /s",
    "Goodput /s",
    "Attainment",
    "p50 s",
    "p95 s",
    "p99 s",
    "Refused",
    "Failed",
)


def number(value: float | None, digits: int = 3) -> str:
    """Return a number for people; a dash for what was not measured."""
    return "–" if value is None else f"{value:,.{digits}f}".rstrip("0").rstrip(".")


def share(value: float | None) -> str:
    """Return a share in per cent."""
    return "–" if value is None else f"{value * 100:.1f} %"


def budget_rows(result: LoadResult) -> Rows:
    """Return a row for every budget."""
    return [
        (
            line.name,
            line.bound,
            number(line.limit, 4),
            number(line.value, 4),
            "kept" if line.is_kept else "MISSED",
        )
        for line in result.budgets
    ]


def figure_rows(result: LoadResult) -> Rows:
    """Return a row for the whole run, then one for each profile and stage, if there are several."""
    rows = [_figures("whole run", result.figures)]
    if len(result.profiles) > 1:
        rows += [_figures(name, each) for name, each in result.profiles.items()]
    if len(result.stages) > 1:
        rows += [
            _figures(f"{each.window.begins_s:.0f}–{each.window.ends_s:.0f} s", each)
            for each in result.stages
        ]
    return rows


def fact_rows(result: LoadResult) -> Rows:
    """Return what else is worth knowing, by name."""
    figures, lag, server = result.figures, result.lag, result.server
    rows: Rows = [
        ("target", f"{result.target} ({result.transport})"),
        ("latency since due, s", _latency(figures.latency)),
        ("latency since sent, s", _latency(figures.service)),
        ("generator late, ms", f"p99 {lag.p99_s * 1000:.1f}, max {lag.max_s * 1000:.1f}"),
        ("other processes took", share(result.others_share)),
        ("in flight at most", f"{result.peak_in_flight} of {result.max_in_flight}"),
        ("ended", _counts(figures.kinds)),
        ("by code", _counts(figures.codes)),
        ("pictures per s", number(figures.pictures_per_s)),
        ("pictures", _pictures(result)),
    ]
    if figures.first_event is not None:
        rows.insert(3, ("first event since sent, s", _latency(figures.first_event)))
    if result.knee_per_s is not None:
        rows.append(("knee, offered per s", number(result.knee_per_s)))
    if result.objectives_s:
        rows.append(("objective, s", _counts(result.objectives_s)))
    if server is not None:
        rows += [
            ("server CPU s per picture", number(server.cpu_s_per_picture)),
            ("queued, mean s", number(server.queue_mean_s)),
            ("rows of a denoiser call, mean", number(server.batch_rows_mean, 2)),
        ]
    return rows


def print_result(result: LoadResult, console: Console) -> None:
    """Print the tables and the verdict."""
    console.print(_table(FIGURE_HEAD, figure_rows(result)))
    facts = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for row in fact_rows(result):
        facts.add_row(*row)
    console.print(facts)
    console.print(_table(BUDGET_HEAD, budget_rows(result)))
    for reason in result.invalid_reasons:
        console.print(reason)
    console.print(f"{result.scenario}: {result.outcome}")


def _table(head: tuple[str, ...], rows: Rows) -> Table:
    table = Table(*head)
    for row in rows:
        table.add_row(*row)
    return table


def _figures(name: str, figures: Figures) -> tuple[str, ...]:
    latency = figures.latency
    return (
        name,
        number(figures.offered_per_s),
        number(figures.requests_per_s),
        number(figures.goodput_per_s),
        share(figures.attainment),
        number(None if latency is None else latency.p50_s),
        number(None if latency is None else latency.p95_s),
        number(None if latency is None else latency.p99_s),
        str(figures.kinds.get("refused", 0)),
        str(figures.kinds.get("failed", 0) + figures.kinds.get("timed_out", 0)),
    )


def _latency(latency: Latency | None) -> str:
    if latency is None:
        return "–"
    text = f"p50 {latency.p50_s:.3f}, p95 {latency.p95_s:.3f}, p99 {latency.p99_s:.3f}, "
    text += f"max {latency.max_s:.3f} of {latency.count}"
    return text + (f", {latency.censored} given up" if latency.censored else "")


def _counts(counts: dict[str, int] | dict[str, float]) -> str:
    return ", ".join(f"{name} {number(value)}" for name, value in counts.items()) or "–"


def _pictures(result: LoadResult) -> str:
    found = result.verification
    text = f"{found.pictures} in all, {found.without_credentials} without credentials; "
    return text + f"{found.verified} verified: {_counts(found.verdicts)}"
