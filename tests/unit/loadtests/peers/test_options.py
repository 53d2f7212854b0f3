"""In which order peers are measured, and with which requests."""

from __future__ import annotations

from dataclasses import replace

import pytest

from loadtests.peers.options import (
    LOADS,
    PEERS,
    Cell,
    Options,
    cells_of,
    plan_of,
    steps_load,
    turns_of,
)


def test_subjects_take_turns_within_every_round():
    options = Options(rounds=3, subjects=("mintmark", "litserve", "plain", "bentoml"))

    order = [(turn.round_number, turn.subject) for turn in turns_of(options)]

    assert order == [
        (round_number, subject)
        for round_number in range(3)
        for subject in ("mintmark", "litserve", "plain", "bentoml")
    ]


def test_a_turn_has_every_rate_of_every_load_after_its_burst():
    cells = cells_of(Options(fractions=(0.4, 0.8)))

    assert [(cell.load.name, cell.fraction) for cell in cells] == [
        ("mixed", None),
        ("mixed", 0.4),
        ("mixed", 0.8),
        ("uniform", None),
        ("uniform", 0.4),
        ("uniform", 0.8),
    ]


def test_requests_of_a_cell_are_the_same_for_every_subject_and_new_in_every_round():
    options = Options(duration_s=20.0)
    cell = Cell(LOADS[0], 0.6)

    first, again = (plan_of(options, cell, 0, 5.0) for _ in range(2))
    later = plan_of(options, cell, 1, 5.0)

    assert first == again
    assert [each.due_s for each in first] != [each.due_s for each in later]


def test_two_cells_of_a_round_do_not_share_their_arrivals():
    options = Options(duration_s=20.0)
    plans = [plan_of(options, Cell(load, 0.6), 0, 5.0) for load in LOADS]

    assert [each.due_s for each in plans[0]] != [each.due_s for each in plans[1]]


def test_the_rate_is_a_fraction_of_the_capacity():
    options = Options(duration_s=400.0)

    plan = plan_of(options, Cell(LOADS[0], 0.6), 0, 5.0)

    assert len(plan) / 400.0 == pytest.approx(3.0, rel=0.1)


def test_a_burst_comes_at_once():
    options = Options(burst=9)

    plan = plan_of(options, Cell(LOADS[0], None), 0, 0.0)

    assert [each.due_s for each in plan] == [0.0] * 9
    assert len({each.request.seed for each in plan}) == 9


def test_a_load_of_steps_has_a_profile_for_each():
    load = steps_load("some", 2, 7)

    assert [each.num_inference_steps for each in load.profiles] == [2, 7]
    assert len({each.name for each in load.profiles}) == 2


def test_profiles_that_two_loads_share_are_measured_alone_once():
    assert [each.num_inference_steps for each in Options().profiles()] == [4, 10, 20]


def test_a_comparison_without_what_it_compares_with_is_refused():
    with pytest.raises(ValueError, match="mintmark"):
        replace(Options(), subjects=tuple(each for each in PEERS if each != "mintmark"))
