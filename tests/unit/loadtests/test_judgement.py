"""Budgets, server figures, verification: what a run is judged by."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from typing import Any

import pytest

from loadtests.budgets import check_budgets
from loadtests.conduct import Subject, conduct
from loadtests.harness.arrivals import Constant
from loadtests.harness.mix import Profile, Workload
from loadtests.harness.request import ImageRequest, Kind, Outcome
from loadtests.harness.statistics import Window, figures_of
from loadtests.harness.telemetry import compare, parse
from loadtests.harness.verification import PROVEN, PictureSample, Verification, has_credentials
from loadtests.machine import MachineTime, others_share, read_machine_time
from loadtests.scenario import Loaded, Scenario
from loadtests.scenario_options import Budgets
from tests.unit.loadtests.makers import AnswersAfter, make_sample
from tests.unit.loadtests.virtual_time import run_virtually

SIGNED = b"....jumb....c2pa\x00...."
UNMARKED = b"\x89PNG only pixels"
CLEAN = Verification(10, 0, 10, {PROVEN: 10}, 0)


def budget(figures, name: str, verification=CLEAN, **limits):
    lines = check_budgets(Budgets(**limits), figures, None, verification)
    return next(line for line in lines if line.name == name)


FIGURES = figures_of(
    [make_sample(due_s=index / 10, sent_s=index / 10, done_s=index / 5) for index in range(100)],
    Window(0.0, 10.0),
    {"p": 5.0},
)


@pytest.mark.parametrize(
    ("name", "limit", "is_kept"),
    [
        ("p99_s", 9.8, True),
        ("p99_s", 9.7, False),
        ("p50_s", 4.9, True),
        ("p50_s", 4.8, False),
        ("attainment", 0.51, True),
        ("attainment", 0.52, False),
        ("goodput_per_s", 5.1, True),
        ("goodput_per_s", 5.2, False),
    ],
)
def test_a_limit_is_kept_up_to_and_including_itself(name, limit, is_kept):
    line = budget(FIGURES, name, **{name: limit})
    assert line.is_kept is is_kept
    assert line.value is not None


@pytest.mark.parametrize("kind", [Kind.FAILED, Kind.TIMED_OUT])
def test_one_error_is_one_too_many_unless_the_scenario_allows_it(kind):
    samples = [make_sample(), make_sample(kind=kind)]
    figures = figures_of(samples, Window(0.0, 10.0), {})
    assert not budget(figures, "error_share").is_kept
    assert budget(figures, "error_share", error_share=0.5).is_kept


def test_leavers_are_no_errors_and_overflow_is_one_of_its_own():
    samples = [make_sample(kind=Kind.LEFT), make_sample(kind=Kind.OVERFLOW)]
    figures = figures_of(samples, Window(0.0, 10.0), {})
    assert budget(figures, "error_share").is_kept
    assert not budget(figures, "overflow_share").is_kept


def test_what_was_not_measured_keeps_no_limit():
    empty = figures_of([], Window(0.0, 10.0), {})
    nothing = Verification(0, 0, 0, {}, 0)
    lines = check_budgets(Budgets(p99_s=1.0, cpu_s_per_picture=1.0), empty, None, nothing)
    assert {line.name for line in lines} == {
        "p99_s",
        "error_share",
        "overflow_share",
        "unsigned",
        "cpu_s_per_picture",
    }
    assert not any(line.is_kept for line in lines)


def test_every_budget_of_a_scenario_is_checked():
    limits: dict[str, Any] = dict.fromkeys(Budgets.model_fields, 1)
    lines = check_budgets(Budgets.model_construct(**limits), FIGURES, None, CLEAN)
    assert {line.name for line in lines} == set(Budgets.model_fields)


class KnowsOnly:
    """A verify API that knows one picture."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.asked: list[bytes] = []

    async def verdict(self, content: bytes) -> str:
        self.asked.append(content)
        return PROVEN if content == self._content else "ai_generated_by_us_altered/strong"


def verified(pictures, share: float = 1.0, at_most: int = 100):
    sample = PictureSample(share, max_kept=at_most, seed=1)
    for content in pictures:
        sample.add(make_sample(), Outcome(kind=Kind.DONE, pictures=(content,)))
    verifier = KnowsOnly(SIGNED)
    return run_virtually(sample.verify(verifier)), verifier


def test_a_picture_without_credentials_is_found_even_if_it_is_not_sampled():
    found, verifier = verified([SIGNED, UNMARKED, SIGNED], share=0.0)
    assert verifier.asked == []
    assert (found.pictures, found.without_credentials, found.unsigned) == (3, 1, 1)


def test_a_picture_that_is_not_proven_to_be_ours_is_unsigned_and_counts_once():
    found, _ = verified([SIGNED, UNMARKED, SIGNED + b"tampered"])
    assert (found.verified, found.unsigned) == (3, 2)
    assert found.verdicts == {PROVEN: 1, "ai_generated_by_us_altered/strong": 2}


def test_the_share_and_the_number_of_verifications_are_bounded():
    found, verifier = verified([SIGNED] * 1000, share=0.3)
    assert len(verifier.asked) == found.verified == 100
    assert verified([SIGNED] * 100, share=0.3)[0].verified == pytest.approx(30, abs=12)


def test_credentials_are_a_store_and_not_a_word():
    assert has_credentials(SIGNED)
    assert not has_credentials(b"a picture of the word c2pa")


BEFORE = """
process_cpu_seconds_total 10
process_resident_memory_bytes 1000
mintmark_images_total{model="m",format="png"} 5
mintmark_queue_seconds_bucket{le="0.1"} 5
mintmark_queue_seconds_bucket{le="1.0"} 5
mintmark_queue_seconds_bucket{le="+Inf"} 5
mintmark_queue_seconds_sum 0.2
mintmark_queue_seconds_count 5
"""
AFTER = """
process_cpu_seconds_total 16
process_resident_memory_bytes 1500
mintmark_images_total{model="m",format="png"} 7
mintmark_images_total{model="m",format="webp"} 2
mintmark_queue_seconds_bucket{le="0.1"} 8
mintmark_queue_seconds_bucket{le="1.0"} 9
mintmark_queue_seconds_bucket{le="+Inf"} 9
mintmark_queue_seconds_sum 1.4
mintmark_queue_seconds_count 9
mintmark_batch_rows_sum 30
mintmark_batch_rows_count 10
mintmark_admission_refusals_total{reason="queue_full"} 3
mintmark_engine_requests_total{outcome="done"} 4
mintmark_engine_requests_total{outcome="cancelled"} 0
"""


def test_what_the_server_did_lies_between_two_readings():
    found = compare(parse(BEFORE), parse(AFTER))
    assert (found.cpu_s, found.pictures, found.cpu_s_per_picture) == (6, 4, 1.5)
    assert found.queue_mean_s == pytest.approx(0.3)
    assert found.queue_p99_at_most_s == 1.0
    assert found.batch_rows_mean == 3
    assert found.refusals == {"queue_full": 3}
    assert found.endings == {"done": 4}
    assert found.resident_memory_growth_bytes == 500


def test_a_server_without_our_metrics_has_no_figures_made_up():
    found = compare(parse("up 1"), parse("up 1"))
    assert (found.cpu_s, found.cpu_s_per_picture, found.queue_mean_s) == (None, None, None)


def loaded(duration_s: float = 10.0, **overrides) -> Loaded:
    values = {
        "name": "t",
        "duration_s": duration_s,
        "warmup_s": 2.0,
        "drain_s": 5.0,
        "arrivals": {"kind": "constant", "rate_per_s": 4.0},
        "mix": [{"name": "p"}],
        "objective": {"scale": 3.0},
    }
    scenario = Scenario.model_validate(values | overrides)
    return Loaded(scenario, Constant(4.0), Workload((Profile(name="p"),), ("a red apple",)))


def outcome_of(target, **overrides):
    return run_virtually(conduct(loaded(**overrides), Subject("fake", target))).result


def test_a_whole_run_against_a_server_that_keeps_up_passes():
    result = outcome_of(AnswersAfter(lambda _: 0.2), budgets={"attainment": 1.0, "p99_s": 0.25})
    assert (result.outcome, result.exit_code, result.invalid_reasons) == ("passed", 0, [])
    assert result.alone_s == pytest.approx({"p": 0.2})
    assert result.objectives_s == pytest.approx({"p": 0.6})
    assert result.figures.offered == 32
    assert result.figures.goodput_per_s == pytest.approx(4.0)


def test_a_whole_run_against_one_that_does_not_misses_its_budget():
    """Alone a request takes 0.2 s; from the sixth second on, 2 s."""
    target = AnswersAfter(lambda now_s: 0.2 if now_s < 6.0 else 2.0)
    result = outcome_of(target, budgets={"attainment": 0.9})
    (line,) = [line for line in result.budgets if line.name == "attainment"]
    assert (result.outcome, result.exit_code, line.is_kept) == ("missed", 1, False)
    assert 0.3 < line.value < 0.7


def test_a_run_whose_generator_was_late_is_invalid_whatever_the_budgets_say():
    class HoldsTheLoopUp:
        async def send(self, request: ImageRequest) -> Outcome:
            import asyncio

            asyncio.get_running_loop().block(0.3)  # type: ignore[attr-defined]
            return Outcome(kind=Kind.DONE, pictures=(b"picture",))

    result = outcome_of(HoldsTheLoopUp(), objective=None)
    assert (result.outcome, result.exit_code) == ("invalid", 3)
    assert "could not keep up" in result.invalid_reasons[0]


class Counts:
    """A server's metrics that say it took no time at all."""

    async def read(self):
        return parse("process_cpu_seconds_total 0")


def outcome_beside(others_share: float, p99_s: float) -> str:
    """How a run ends that takes 0.2 s for everything, while others take a share of the machine."""
    server = Subject("fake", AnswersAfter(lambda _: 0.2), Counts(), None, is_local=True)
    readings = iter([MachineTime(0.0, 0.0, 0.0), MachineTime(10 * others_share, 10.0, 0.0)])
    run = conduct(loaded(budgets={"p99_s": p99_s}), server, read_machine=lambda: next(readings))
    result = run_virtually(run).result
    assert result.others_share == pytest.approx(others_share)
    return result.outcome


def test_a_budget_missed_beside_other_work_makes_the_run_invalid():
    assert outcome_beside(0.11, p99_s=0.1) == "invalid"


def test_a_budget_kept_beside_other_work_is_kept():
    assert outcome_beside(0.9, p99_s=1.0) == "passed"


def test_a_budget_missed_on_a_machine_that_is_idle_otherwise_is_missed():
    assert outcome_beside(0.09, p99_s=0.1) == "missed"


def test_what_others_took_is_what_was_busy_and_neither_ours_nor_the_servers():
    per_s = os.sysconf("SC_CLK_TCK")
    before = read_machine_time("cpu 0 0 0 0 0 0 0 0 0 0\n")
    ticks = [int(seconds * per_s) for seconds in (6, 1, 2, 7, 1, 0, 1, 2)]
    after = read_machine_time(f"cpu {' '.join(map(str, ticks))} 3 0\n")
    assert after.busy_s == pytest.approx(12)
    assert after.total_s == pytest.approx(20)
    same = replace(after, own_s=before.own_s + 3.0)
    assert others_share(before, same, 4.0) == pytest.approx(5 / 20)


def test_a_server_that_marks_nothing_is_not_held_to_it():
    names = {line.name for line in outcome_of(AnswersAfter(lambda _: 0.2)).budgets}
    assert "unsigned" not in names


def test_a_result_survives_json():
    result = outcome_of(AnswersAfter(lambda _: 0.2))
    again = type(result).model_validate_json(result.model_dump_json())
    assert again == result
    assert json.loads(result.model_dump_json())["schema_version"] == "mintmark.loadtest/1"
    assert set(type(result).model_json_schema()["properties"]) == set(type(result).model_fields)
