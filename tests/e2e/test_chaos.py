"""One of the chaos scenarios, the one that every deployment meets; `make chaos` plays all."""

from __future__ import annotations

import pytest

from loadtests.chaos.__main__ import perform, scenarios
from loadtests.chaos.stage import ChaosOptions


@pytest.mark.timeout(300)
def test_a_worker_killed_mid_step_loses_no_promise():
    options = ChaosOptions(is_quick=True, patience=2.0)
    report = perform("worker-killed", scenarios()["worker-killed"], options)
    assert report.is_kept, report.findings
    assert report.pictures > 0
    assert report.recovery_s is not None
