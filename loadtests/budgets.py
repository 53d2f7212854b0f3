"""Holds a run against the limits of its scenario."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from loadtests.harness.request import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from loadtests.harness.statistics import Figures, Latency
    from loadtests.harness.telemetry import ServerFigures
    from loadtests.harness.verification import Verification
    from loadtests.scenario_options import Budgets

_AT_LEAST = frozenset({"attainment", "goodput_per_s", "pictures_per_s"})


@dataclass(frozen=True, slots=True)
class BudgetLine:
    """One limit. `value` is None if nothing was measured, which keeps no limit."""

    name: str
    bound: Literal["at most", "at least"]
    limit: float
    value: float | None
    is_kept: bool


def check_budgets(
    budgets: Budgets,
    figures: Figures,
    server: ServerFigures | None,
    verification: Verification | None,
) -> tuple[BudgetLine, ...]:
    """Return a line for every limit that the scenario states.

    verification: None for a server that marks nothing; `unsigned` then has no line.
    """
    measured = dict(_measured(figures, server, verification))
    limits = budgets.model_dump()
    return tuple(
        _line(name, float(limits[name]), value)
        for name, value in measured.items()
        if limits[name] is not None
    )


def _measured(
    figures: Figures, server: ServerFigures | None, verification: Verification | None
) -> Iterator[tuple[str, float | None]]:
    """Yield what was measured for every field of Budgets."""
    latency = figures.latency
    yield "p50_s", _seconds(latency, "p50_s")
    yield "p95_s", _seconds(latency, "p95_s")
    yield "p99_s", _seconds(latency, "p99_s")
    yield "first_event_p99_s", _seconds(figures.first_event, "p99_s")
    yield "attainment", figures.attainment
    yield "goodput_per_s", figures.goodput_per_s
    yield "pictures_per_s", figures.pictures_per_s
    # Of an empty window no share is known, which must not look like a run without errors.
    known = figures.offered > 0
    errors = figures.share(Kind.FAILED) + figures.share(Kind.TIMED_OUT)
    yield "error_share", errors if known else None
    yield "refused_share", figures.share(Kind.REFUSED) if known else None
    yield "overflow_share", figures.share(Kind.OVERFLOW) if known else None
    if verification is not None:
        yield "unsigned", verification.unsigned if verification.pictures else None
    yield "cpu_s_per_picture", None if server is None else server.cpu_s_per_picture
    growth = None if server is None else server.resident_memory_growth_bytes
    yield "resident_memory_growth_bytes", growth


def _seconds(latency: Latency | None, name: str) -> float | None:
    return None if latency is None else float(getattr(latency, name))


def _line(name: str, limit: float, value: float | None) -> BudgetLine:
    if name in _AT_LEAST:
        return BudgetLine(name, "at least", limit, value, value is not None and value >= limit)
    return BudgetLine(name, "at most", limit, value, value is not None and value <= limit)
