"""docs/tracing.md lists every span with all its attributes, and every setting of tracing."""

from __future__ import annotations

import re
from pathlib import Path

from service.config import setting_names
from service.provenance.pipeline import MARKING_STAGES
from service.telemetry.span_table import SPANS, STAGES

PAGE = (Path(__file__).parents[2] / "docs" / "tracing.md").read_text(encoding="utf-8")


def test_the_page_has_the_table_of_spans_and_no_other_rows():
    rows = [
        f"| `{span.name}` | {span.stops} | {span.meaning} | "
        f"{', '.join(f'`{attribute}`' for attribute in span.attributes)} |"
        for span in SPANS
    ]
    table = PAGE.partition("## Spans\n")[2].partition("\n\n* ")[0]
    found = [line for line in table.splitlines() if line.startswith("| `")]
    assert found == rows


def test_the_page_names_every_setting_of_tracing():
    named = set(re.findall(r"MINTMARK_TELEMETRY__\w+", PAGE))
    settings = {variable for section, _, variable in setting_names() if section == "telemetry"}
    assert named <= settings
    assert {name for name in settings if "OTLP" in name or "TRACE" in name} <= named


def test_the_stages_of_marking_are_the_spans_below_it():
    assert STAGES == MARKING_STAGES
