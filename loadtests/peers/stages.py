"""Where this service's time goes, by its own metrics: seconds of each stage of a picture."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from loadtests.harness.telemetry import Reading

_WHOLE = {
    "mintmark_encode_seconds_sum": "encode prompts",
    "mintmark_step_seconds_sum": "denoise",
    "mintmark_decode_seconds_sum": "decode",
    "mintmark_ledger_write_seconds_sum": "ledger",
}
_MARKING = "mintmark_marking_seconds_sum"


def seconds_by_stage(before: Reading, after: Reading) -> dict[str, float]:
    """Return the seconds that each stage gained between two readings; empty without metrics.

    They are seconds of the clock. Marking runs on one thread, so on an idle core they are its CPU
    time; a step computes on all threads, so its CPU time is up to that many times as much.
    """
    found: dict[str, list[float]] = {}
    for (name, labels), value in after.items():
        stage = _WHOLE.get(name)
        if name == _MARKING:
            stage = f"mark: {dict(labels)['stage']}"
        if stage is not None:
            found.setdefault(stage, []).append(value - before.get((name, labels), 0.0))
    return {stage: math.fsum(gains) for stage, gains in found.items()}
