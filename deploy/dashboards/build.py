"""`python -m deploy.dashboards.build` writes the dashboards into the chart: `make docs`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.dashboards.engine import ENGINE
from deploy.dashboards.service import SERVICE

if TYPE_CHECKING:
    from deploy.dashboards.layout import Dashboard

DASHBOARDS = (SERVICE, ENGINE)
FOLDER = Path(__file__).parents[1] / "helm" / "mintmark" / "files" / "dashboards"


def path_of(dashboard: Dashboard) -> Path:
    """Return where a dashboard's JSON lies. The chart puts "mintmark-" before its name."""
    return FOLDER / f"{dashboard.uid.removeprefix('mintmark-')}.json"


def text_of(dashboard: Dashboard) -> str:
    """Return a dashboard's JSON as it is committed."""
    return json.dumps(dashboard.to_json(), indent=2) + "\n"


if __name__ == "__main__":
    for each in DASHBOARDS:
        path_of(each).write_text(text_of(each), encoding="utf-8")
