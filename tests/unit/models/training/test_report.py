from __future__ import annotations

import dataclasses
import json

import pytest

from models.training.measurements import (
    Distances,
    Measurements,
    Memorisation,
    Row,
    Scores,
    SubjectScore,
)
from models.training.report import EvaluationReport
from models.training.ship_bar import check_ship_bar, few_step_check

REAL = Scores(512, 1.0, 1.0, 1.0, 1.0, 0.0)
RECOLOURED = dataclasses.replace(REAL, recolour=0.9)
REBUILT = dataclasses.replace(REAL, subject_top1=0.98, psnr_db=30.0)
DRAWN = Scores(2048, 0.7, 0.95, 0.85, 0.97, 0.005)
GOOD = Measurements(
    rows=(
        Row("trained pairs", "real renders", REAL),
        Row("trained pairs", "reconstructions", REBUILT),
        Row("trained pairs", "generated", DRAWN),
        Row("held-out pairs", "reconstructions", REBUILT),
        Row("held-out pairs", "generated", dataclasses.replace(DRAWN, subject_top1=0.6)),
        Row("recoloured", "real renders", RECOLOURED),
        Row("recoloured", "reconstructions", dataclasses.replace(REBUILT, recolour=0.88)),
        Row("recoloured", "generated", dataclasses.replace(DRAWN, recolour=0.7)),
    ),
    distances=Distances(2048, generated=2.0, real=1.0),
    memorisation=Memorisation(0.7, 0.72, 0.01, 0.95),
    subjects=(SubjectScore("cat", 4, 0.25), SubjectScore("apple", 5, 1.0)),
)


def with_score(pictures, source, **changes):
    """Return the good measurements with one line changed."""
    rows = [
        Row(row.pictures, row.source, dataclasses.replace(row.scores, **changes))
        if (row.pictures, row.source) == (pictures, source)
        else row
        for row in GOOD.rows
    ]
    return dataclasses.replace(GOOD, rows=tuple(rows))


def failed(measured):
    return {check.name for check in check_ship_bar(measured) if check.passed is False}


def test_good_measurements_leave_only_the_look_to_a_person():
    unmeasured = [check.name for check in check_ship_bar(GOOD) if check.passed is not True]
    assert unmeasured == ["subjects named by a person, of 16"]


@pytest.mark.parametrize(
    ("measured", "name"),
    [
        (with_score("held-out pairs", "reconstructions", psnr_db=27.9), "PSNR"),
        (with_score("trained pairs", "reconstructions", subject_top1=0.94), "subject top-1 of"),
        (with_score("recoloured", "reconstructions", recolour=0.85), "recolour of real"),
        (with_score("trained pairs", "generated", subject_top5=0.89), "subject top-5"),
        (with_score("held-out pairs", "generated", subject_top1=0.55), "held-out pairs"),
        (with_score("trained pairs", "generated", background=0.94), "background"),
        (with_score("recoloured", "generated", recolour=0.65), "recolour, of recon"),
        (with_score("trained pairs", "generated", style=0.79), "style"),
        (with_score("trained pairs", "generated", blank=0.01), "blank"),
        (dataclasses.replace(GOOD, distances=Distances(2048, 2.6, 1.0)), "Fréchet"),
        (dataclasses.replace(GOOD, memorisation=Memorisation(0.73, 0.72, 0, 0.9)), "median"),
        (dataclasses.replace(GOOD, memorisation=Memorisation(0.7, 0.72, 0.05, 0.9)), "nearer"),
    ],
)
def test_each_point_of_the_bar_can_fail_alone(measured, name):
    (failure,) = failed(measured)
    assert name in failure


def test_a_low_top1_fails_although_its_ratio_holds():
    assert failed(with_score("trained pairs", "generated", subject_top1=0.64)) == {"subject top-1"}


def test_what_was_not_measured_neither_passes_nor_fails():
    rows = tuple(row for row in GOOD.rows if row.pictures != "held-out pairs")
    checks = check_ship_bar(dataclasses.replace(GOOD, rows=rows, memorisation=None))
    assert sum(check.passed is None for check in checks) == 5
    assert not any(check.passed is False for check in checks)


def test_too_few_pictures_decide_no_distance():
    small = dataclasses.replace(GOOD, distances=Distances(512, 9.0, 1.0))
    (check,) = [check for check in check_ship_bar(small) if "Fréchet" in check.name]
    assert (check.value, check.passed) == (9.0, None)
    assert "2048 needed" in check.note


def test_a_ceiling_of_zero_is_no_ceiling():
    assert "recolour of real" not in str(
        failed(with_score("recoloured", "real renders", recolour=0.0))
    )


@pytest.mark.parametrize(("top1", "passed"), [(0.665, True), (0.66, False)])
def test_a_few_step_model_may_lose_five_percent(top1, passed):
    few_step = with_score("trained pairs", "generated", subject_top1=top1)
    assert few_step_check(GOOD, few_step).passed is passed


def make_report(measured=GOOD):
    facts = {"model": "m", "sampling": {"scheduler": "ddim"}}
    return EvaluationReport(facts, measured, check_ship_bar(measured), ("A note.",))


def test_the_report_is_cleared_unless_a_point_fails():
    assert make_report().is_cleared
    assert not make_report(with_score("trained pairs", "generated", background=0.5)).is_cleared


def test_the_report_survives_json():
    told = json.loads(json.dumps(make_report().as_dict()))
    assert told["is_cleared"] is True
    assert told["facts"]["model"] == "m"
    assert told["measured"]["rows"][2]["scores"]["subject_top1"] == 0.7
    assert {check["passed"] for check in told["checks"]} == {True, None}


def test_the_markdown_shows_every_line_every_point_and_every_subject():
    text = make_report(with_score("trained pairs", "generated", background=0.5)).markdown()
    lines = text.splitlines()
    assert (
        "| trained pairs | generated | 2048 | 0.700 | 0.950 | 0.850 | 0.500 |  | 0.005 |  |"
        in lines
    )
    assert "| background | 0.500 | ≥ 0.95 | **no** |  |" in lines
    assert "| 1.0 | 1 | apple (5) |" in lines
    assert "| 0.2 | 1 | cat (4) |" in lines
    assert "* A note." in lines


def test_every_table_of_the_markdown_has_equal_columns():
    widths = [line.count("|") for line in make_report().markdown().splitlines() if "|" in line]
    assert set(widths) == {11, 6, 4}
