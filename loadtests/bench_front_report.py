"""What the front-door benchmark makes of its samples, and how it says so."""

from __future__ import annotations

import statistics
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from loadtests.bench_front_load import Sample

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

GOAL_P50_MS = 1.0
GOAL_P99_MS = 15.0
GOAL_STEPS = 1  # that may begin after a client has left


def medians(samples: Sequence[Sample]) -> Sample:
    """Return the median of each figure over the rounds."""
    names = [each.name for each in fields(Sample)]
    return Sample(
        **{name: statistics.median(getattr(sample, name) for sample in samples) for name in names}
    )


def overheads(found: Mapping[str, Sample]) -> dict[str, dict[str, float]]:
    """Return what each front door adds to the engine, and how that compares with its echo.

    The echo does what the library alone does for the same answer; `ours_p50_ms` is what a door
    adds to the engine beyond it.
    """
    over = {}
    for name, sample in found.items():
        if name.endswith("echo") or not name.startswith(("HTTP", "gRPC")):
            continue
        engine, echo = found["engine"], found[f"{name.split()[0]} echo"]
        over[name] = {
            "over_engine_p50_ms": sample.p50_ms - engine.p50_ms,
            "over_engine_p99_ms": sample.p99_ms - engine.p99_ms,
            "ours_p50_ms": sample.p50_ms - engine.p50_ms - echo.p50_ms,
            "times_echo_p50": sample.p50_ms / echo.p50_ms,
            "times_echo_p99": sample.p99_ms / echo.p99_ms,
        }
    return over


def print_table(result: dict[str, Any]) -> None:
    """Print the figures, and whether they may be repeated."""
    plan = result["plan"]
    print(f"{plan['connections']} connections, {plan['requests']} requests, ", end="")
    print(f"median of {plan['rounds']} rounds; answers of {result['answer_bytes']} bytes,")
    print(f"messages of {result['message_bytes']} bytes; no marking, an instant model")
    for pace, figures in result["paces"].items():
        print(f"\n{pace:24} {'p50 ms':>8} {'p99 ms':>8} {'per s':>8} {'CPU ms':>8}")
        for name, row in figures["arms"].items():
            print(f"{name:24} {row['p50_ms']:8.2f} {row['p99_ms']:8.2f} ", end="")
            print(f"{row['per_s']:8.0f} {row['cpu_ms']:8.2f}")
        for name, row in figures["overhead"].items():
            print(f"{name} over the engine: p50 {row['over_engine_p50_ms']:+.2f} ms, ", end="")
            print(f"p99 {row['over_engine_p99_ms']:+.2f} ms; ", end="")
            print(f"beyond its echo too: p50 {row['ours_p50_ms']:+.2f} ms; ", end="")
            print(f"times its echo: {row['times_echo_p50']:.2f}, {row['times_echo_p99']:.2f}")
            if result["is_quiet"]:
                is_met = (
                    row["over_engine_p50_ms"] <= GOAL_P50_MS
                    and row["over_engine_p99_ms"] <= GOAL_P99_MS
                )
                print(
                    f"  goal {GOAL_P50_MS:g} / {GOAL_P99_MS:g} ms: {'met' if is_met else 'MISSED'}"
                )
    share = result["busy_share"]
    print(f"\nOther processes took up to {share:.0%} of the machine while the arms rested.")
    if not result["is_quiet"]:
        print("That is too much: nothing here may be claimed. Run it again on a quiet machine.")


def print_cancels(cancels: dict[str, Any]) -> None:
    """Print how soon a slot was free."""
    print("\nClients that left; of those that had reached the engine, how many steps began after:")
    for door, row in cancels["doors"].items():
        after = ", ".join(f"{k}: {n}" for k, n in row["steps_begun_after_leaving"].items())
        print(f"{door:16} {row['left']:5} left, {row['reached_the_engine']:5} reached it; ", end="")
        print(f"steps {{{after}}}; after its end {row['steps_begun_after_the_end']}; ", end="")
        print(f"freed after {row['freed_after_ms_p50']:.1f} ms (p50), ", end="")
        print(f"{row['freed_after_ms_max']:.1f} ms (most); {row['outcomes']}")
    most = max(
        int(k) for row in cancels["doors"].values() for k in row["steps_begun_after_leaving"]
    )
    print(f"At most {most} step(s) began after a client had left; the goal is {GOAL_STEPS}.")
    held = cancels["images_still_held"]
    print(f"A step takes {cancels['step_ms']:g} ms. Images still held in the end: {held}.")
