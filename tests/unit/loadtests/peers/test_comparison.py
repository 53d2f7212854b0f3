"""What the measurements of peers amount to."""

from __future__ import annotations

from dataclasses import replace

import pytest

from loadtests.harness.request import Kind
from loadtests.peers.comparison import (
    METRICS,
    Comparison,
    Point,
    alone_of,
    objectives_of,
    point_of,
    rows_of,
)
from loadtests.peers.options import LOADS, Cell, Turn
from loadtests.peers.plots import as_png
from loadtests.peers.runner import Taken, throughput_per_s
from loadtests.peers.stages import seconds_by_stage
from loadtests.peers.table import markdown, warnings_of
from tests.unit.loadtests.makers import make_sample

PACED, BURST = Cell(LOADS[0], 0.5), Cell(LOADS[0], None)


def make_point(**overrides) -> Point:
    ordinary = Point(
        subject="mintmark",
        round_number=0,
        load="mixed",
        fraction=0.5,
        rate_per_s=2.0,
        offered=20,
        pictures=20,
        signed=20,
        unanswered=0,
        p50_s=1.0,
        p95_s=2.0,
        p99_s=3.0,
        attainment=1.0,
        goodput_per_s=2.0,
        pictures_per_s=2.0,
        cpu_s_per_picture=0.5,
        lag_p99_s=0.001,
        others_share=0.01,
        stages_s={},
    )
    return replace(ordinary, **overrides)


def make_taken(*samples, cell: Cell = PACED, **overrides) -> Taken:
    ordinary = Taken(
        turn=Turn(0, "plain"),
        cell=cell,
        rate_per_s=2.0,
        samples=samples,
        cpu_s=3.0,
        signed=0,
        lag_p99_s=0.0,
        others_share=0.0,
        stages_s={},
    )
    return replace(ordinary, **overrides)


def row_of(rows, subject: str):
    (row,) = [each for each in rows if each.subject == subject]
    return row


def test_a_figure_is_the_median_of_its_rounds_with_their_range():
    rows = rows_of([make_point(round_number=n, p50_s=value) for n, value in enumerate((3, 1, 8))])

    spread = row_of(rows, "mintmark").figures["p50_s"]

    assert (spread.median, spread.low, spread.high) == (3, 1, 8)


def test_a_ratio_is_taken_within_each_round_before_the_median():
    # The machine was twice as slow in the second round, for both.
    ours = [make_point(round_number=n, p50_s=value) for n, value in enumerate((1.0, 2.0, 1.0))]
    theirs = [
        make_point(subject="plain", round_number=n, p50_s=value)
        for n, value in enumerate((3.0, 6.0, 4.0))
    ]

    ratio = row_of(rows_of(ours + theirs), "plain").ratios["p50_s"]

    assert (ratio.median, ratio.low, ratio.high) == (3.0, 3.0, 4.0)


def test_the_baseline_is_once_itself():
    row = row_of(rows_of([make_point()]), "mintmark")

    assert {name: spread.median for name, spread in row.ratios.items()} == dict.fromkeys(
        METRICS, 1.0
    )


def test_a_figure_that_one_round_lacks_has_no_median():
    rows = rows_of([make_point(), make_point(round_number=1, p50_s=None)])

    row = row_of(rows, "mintmark")

    assert "p50_s" not in row.figures
    assert "p50_s" not in row.ratios
    assert "p95_s" in row.figures


def test_over_a_baseline_of_nothing_there_is_no_ratio():
    rows = rows_of([make_point(goodput_per_s=0.0), make_point(subject="plain")])

    assert "goodput_per_s" not in row_of(rows, "plain").ratios


def test_rows_are_of_one_load_and_rate():
    rows = rows_of([make_point(), make_point(fraction=0.9), make_point(load="uniform")])

    assert [(each.load, each.fraction) for each in rows] == [
        ("mixed", 0.5),
        ("mixed", 0.9),
        ("uniform", 0.5),
    ]


def test_objectives_are_those_of_the_slowest_subject():
    alone_s = {"mintmark": {"a": 0.5, "b": 2.0}, "plain": {"a": 1.0, "b": 1.0}}

    assert objectives_of(alone_s, 3.0) == {"a": 3.0, "b": 6.0}


def test_time_alone_is_the_median_of_the_turns():
    taken = [(Turn(number, "plain"), {"a": value}) for number, value in enumerate((4.0, 1.0, 2.0))]

    assert alone_of(taken) == {"plain": {"a": 2.0}}


def test_throughput_of_a_rate_counts_what_came_while_it_was_offered():
    in_time = [make_sample(number=n, due_s=0.0, done_s=9.0) for n in range(5)]
    later = make_sample(number=5, due_s=1.0, done_s=11.0)

    point = point_of(make_taken(*in_time, later), 10.0, {})

    assert point.pictures_per_s == 0.5
    assert point.cpu_s_per_picture == 3.0 / 6


def test_throughput_of_a_burst_counts_until_its_last_picture():
    samples = tuple(make_sample(number=n, due_s=0.0, done_s=n + 1.0) for n in range(4))

    point = point_of(make_taken(*samples, cell=BURST), 10.0, {})

    assert point.pictures_per_s == pytest.approx(1.0)
    assert throughput_per_s(samples) == 1.0


def test_who_got_no_picture_is_counted_and_takes_no_part_in_cpu_per_picture():
    samples = [make_sample(), make_sample(kind=Kind.FAILED, pictures=0)]

    point = point_of(make_taken(*samples), 10.0, {})

    assert (point.offered, point.pictures, point.unanswered) == (2, 1, 1)
    assert point.cpu_s_per_picture == 3.0


def test_a_server_that_answers_nothing_has_no_latency_and_no_ratio_to_hide_behind():
    failed = [make_sample(kind=Kind.FAILED, pictures=0) for _ in range(3)]

    for cell in (PACED, BURST):
        point = point_of(make_taken(*failed, cell=cell), 10.0, {})

        assert point.p50_s is None
        assert point.cpu_s_per_picture is None
        assert (point.pictures_per_s, point.unanswered) == (0.0, 3)


def test_goodput_holds_everybody_to_the_same_objective():
    samples = [make_sample(due_s=0.0, done_s=1.0), make_sample(due_s=0.0, done_s=5.0)]

    point = point_of(make_taken(*samples), 10.0, {"p": 2.0})

    assert point.goodput_per_s == 0.1
    assert point.attainment == 0.5


def test_stages_are_what_the_counters_gained():
    def stage(name: str) -> tuple[str, frozenset[tuple[str, str]]]:
        return ("mintmark_marking_seconds_sum", frozenset({("stage", name)}))

    step = ("mintmark_step_seconds_sum", frozenset({("size", "64x64")}))
    other = ("process_cpu_seconds_total", frozenset[tuple[str, str]]())

    gained = seconds_by_stage({step: 2.0}, {step: 5.0, stage("sign"): 0.5, other: 9.0})

    assert gained == {"denoise": 3.0, "mark: sign": 0.5}


def make_comparison(*points: Point) -> Comparison:
    alone_s = {"mintmark": {"4 steps": 0.2}, "plain": {"4 steps": 0.4}}
    return Comparison({"mixed": 4.0}, alone_s, {"4 steps": 1.2}, list(points), rows_of(points))


def test_tables_have_every_subject_with_its_ratio_and_its_stages():
    comparison = make_comparison(
        make_point(stages_s={"denoise": 0.25}),
        make_point(subject="plain", p50_s=4.0, signed=0),
    )

    text = markdown(comparison)

    assert "2 per second (50% of mintmark's capacity)" in text
    assert "x4 " in next(line for line in text.splitlines() if line.startswith("| plain | 4 |"))
    assert "| mintmark | mixed, 2 per second (50% of mintmark's capacity) | 250 | 500 |" in text
    assert comparison.signed_share == {"mintmark": 1.0, "plain": 0.0}


@pytest.mark.parametrize(
    ("overrides", "said"),
    [({"others_share": 0.4}, "40.0 %"), ({"lag_p99_s": 0.2}, "200 ms")],
    ids=["busy-machine", "late-generator"],
)
def test_figures_of_a_disturbed_run_say_so(overrides, said):
    comparison = make_comparison(make_point(), make_point(subject="plain", **overrides))

    (warning,) = warnings_of(comparison)

    assert said in warning
    assert markdown(comparison).startswith("**Not to be relied on.**")


def test_a_quiet_run_says_nothing():
    assert warnings_of(make_comparison(make_point())) == []


def test_the_picture_can_be_drawn_when_a_figure_is_missing():
    comparison = make_comparison(make_point(), make_point(subject="plain", p99_s=None))

    assert as_png(comparison, "some").startswith(b"\x89PNG")
