"""Every judge of the chaos scenarios acquits and condemns."""

from __future__ import annotations

import pytest

from loadtests.chaos.judgement import (
    Outage,
    judge_answers,
    judge_felt,
    judge_marks,
    judge_pixels,
    judge_recovery,
    recovery_s,
    typed_codes,
)
from loadtests.chaos.processes import judge_deaths
from loadtests.chaos.proof import Proofs
from loadtests.harness.request import Kind
from tests.unit.loadtests.makers import make_sample

OUTAGE = Outage(10.0, 20.0)


def failed(code: str, kind: Kind = Kind.FAILED, sent_s: float = 1.0, done_s: float = 2.0):
    return make_sample(kind=kind, code=code, sent_s=sent_s, done_s=done_s)


def test_pictures_with_all_their_marks_are_kept():
    assert judge_marks(Proofs(3, 0, 0, 0)).is_kept


@pytest.mark.parametrize("proofs", [(3, 1, 0, 0), (3, 0, 1, 0), (3, 0, 0, 1), (0, 0, 0, 0)])
def test_one_picture_without_a_mark_or_no_picture_at_all_is_a_broken_promise(proofs):
    assert not judge_marks(Proofs(*proofs)).is_kept


def test_proofs_add_up():
    assert Proofs(1, 2, 3, 4) + Proofs(10, 20, 30, 40) == Proofs(11, 22, 33, 44)


@pytest.mark.parametrize("code", ["queue_full", "ledger_failed", "signing_failed", "draining"])
def test_a_typed_error_is_an_answer(code):
    assert code in typed_codes()
    assert judge_answers([make_sample(), failed(code)], []).is_kept


@pytest.mark.parametrize(
    "code", ["http_500", "http_502", "bad_answer", "missing_pictures", "grpc_unknown", ""]
)
def test_an_error_without_a_type_is_a_loss_even_during_an_outage(code):
    lost = failed(code, sent_s=12.0, done_s=13.0)
    assert not judge_answers([make_sample(), lost], [OUTAGE]).is_kept


@pytest.mark.parametrize("code", ["connection_lost", "connection_failed", "grpc_unavailable"])
@pytest.mark.parametrize(
    ("sent_s", "done_s", "is_kept"),
    [
        (8.0, 10.1, True),  # under way when the process died
        (12.0, 12.1, True),
        (19.9, 30.0, True),
        (5.0, 8.0, False),  # before anything had died
        (22.0, 23.0, False),  # the successor was ready
    ],
)
def test_only_a_death_may_break_a_connection(code, sent_s, done_s, is_kept):
    lost = failed(code, sent_s=sent_s, done_s=done_s)
    assert judge_answers([lost], [OUTAGE]).is_kept is is_kept
    assert not judge_answers([lost], []).is_kept


def test_a_client_that_nobody_answers_is_a_loss():
    waiting = failed("client_timeout", Kind.TIMED_OUT, sent_s=12.0, done_s=132.0)
    assert not judge_answers([waiting], [OUTAGE]).is_kept


def test_a_run_without_requests_proves_nothing():
    assert not judge_answers([], []).is_kept


def test_what_was_never_sent_is_no_loss():
    assert judge_answers([failed("max_in_flight", Kind.OVERFLOW)], []).is_kept


def test_other_pixels_than_before_are_a_broken_promise():
    assert judge_pixels("a", "a").is_kept
    assert not judge_pixels("a", "b").is_kept


def test_recovery_counts_from_the_fault_to_the_first_success_asked_for_after_it():
    samples = [
        make_sample(sent_s=4.0, done_s=6.0),  # asked for before
        failed("queue_full", sent_s=5.5, done_s=5.6),
        make_sample(sent_s=6.0, done_s=9.0),
        make_sample(sent_s=7.0, done_s=8.0),
    ]
    assert recovery_s(samples, 5.0) == 3.0
    assert recovery_s(samples, 7.5) is None


@pytest.mark.parametrize(("recovered_s", "is_kept"), [(3.0, True), (3.1, False), (None, False)])
def test_recovery_is_bounded(recovered_s, is_kept):
    assert judge_recovery(recovered_s, 3.0).is_kept is is_kept


def test_a_fault_that_nobody_felt_proves_nothing():
    wanted = frozenset({"ledger_failed"})
    assert judge_felt([failed("ledger_failed")], wanted, "x").is_kept
    assert not judge_felt([failed("queue_full"), make_sample()], wanted, "x").is_kept


@pytest.mark.parametrize(("deaths", "wanted"), [(1, 0), (0, 1), (2, 1)])
def test_every_death_must_have_been_caused(deaths, wanted):
    assert judge_deaths(wanted, wanted).is_kept
    assert not judge_deaths(deaths, wanted).is_kept
