"""The whole report as one HTML file that needs nothing beside it."""

from __future__ import annotations

from dataclasses import asdict
from html import escape
from typing import TYPE_CHECKING

from loadtests.report.plots import as_svg
from loadtests.report.table import (
    BUDGET_HEAD,
    FIGURE_HEAD,
    budget_rows,
    fact_rows,
    figure_rows,
)

if TYPE_CHECKING:
    from loadtests.report.plots import Plot
    from loadtests.report.table import Rows
    from loadtests.result import LoadResult

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem;
       color: #222; background: #fff; }
table { border-collapse: collapse; margin: 1rem 0; display: block; overflow-x: auto; }
th, td { text-align: left; padding: .25rem .8rem .25rem 0; border-bottom: 1px solid #ddd; }
td:not(:first-child), th:not(:first-child) { font-variant-numeric: tabular-nums; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(26rem, 1fr)); gap: 1rem; }
.plots svg { width: 100%; height: auto; }
.passed { color: #00664a; } .missed, .invalid { color: #b33a00; }
"""


def as_html(result: LoadResult, plots: list[Plot]) -> str:
    """Return the report."""
    figures = "".join(f'<div id="{escape(plot.name)}">{as_svg(plot)}</div>' for plot in plots)
    reasons = "".join(f"<p>{escape(reason)}</p>" for reason in result.invalid_reasons)
    title = escape(f"{result.scenario}: {result.outcome}")
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>{_STYLE}</style></head><body>
<h1 class="{escape(result.outcome)}">{title}</h1>
<p>{escape(result.description)}</p>{reasons}
{_table(BUDGET_HEAD, budget_rows(result))}
{_table(FIGURE_HEAD, figure_rows(result))}
<div class="plots">{figures}</div>
<h2>Figures</h2>{_table((), fact_rows(result))}
<h2>Where and when</h2>{_table((), _environment_rows(result))}
</body></html>
"""


def _table(head: tuple[str, ...], rows: Rows) -> str:
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table>{f'<tr>{top}</tr>' if head else ''}{body}</table>"


def _environment_rows(result: LoadResult) -> Rows:
    rows: Rows = [
        ("started", result.started_at.isoformat(timespec="seconds")),
        ("seed", str(result.seed)),
        ("duration, warm-up, s", f"{result.duration_s:g}, {result.warmup_s:g}"),
    ]
    for name, value in asdict(result.environment).items():
        if isinstance(value, dict):
            rows += [(str(key), str(found)) for key, found in value.items()]
        else:
            rows.append((name.replace("_", " "), str(value)))
    return rows
