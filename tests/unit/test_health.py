"""Why a loaded worker is not live or not ready."""

from __future__ import annotations

import pytest

from service.engine.watchdog import Stall
from service.errors import LedgerUnavailable, QueueFull, SignerNotReady
from service.health import QueueGate, SignerGate, WorkerHealth

HOUR_S = 3600.0


class FakeEngine:
    def __init__(self) -> None:
        self.is_alive = True
        self.stuck: Stall | None = None

    def stall(self) -> Stall | None:
        return self.stuck


class Bench:
    """A healthy worker; each test makes it ill in one way."""

    def __init__(self) -> None:
        self.engine = FakeEngine()
        self.depth = 0
        self.signer_left_s = HOUR_S
        self.signer_wait_s = -HOUR_S
        gate = QueueGate(lambda: self.depth, max_images=8)
        self.ledger: LedgerUnavailable | None = None
        signer = SignerGate(lambda: self.signer_left_s, lambda: self.signer_wait_s, 300.0)
        self.health = WorkerHealth(self.engine, gate, [signer.refusal, lambda: self.ledger])


@pytest.fixture
def bench():
    return Bench()


def test_a_healthy_worker_is_live_and_ready(bench):
    assert bench.health.why_not_live() is None
    assert bench.health.why_not_ready() is None


def test_an_engine_without_a_thread_is_dead(bench):
    bench.engine.is_alive = False
    reason = bench.health.why_not_live()
    assert reason is not None
    assert reason.message == "The engine has stopped."


def test_a_stuck_engine_is_dead_and_says_where_it_hangs(bench):
    bench.engine.stuck = Stall("a step of 2 rows of toy/4x16x16", 61.2, 60.0)
    reason = bench.health.why_not_live()
    assert reason is not None
    assert reason.message == (
        "The engine is stuck: a step of 2 rows of toy/4x16x16 has taken 61 s, and may take 60 s."
    )
    assert bench.health.why_not_ready() is None  # which is asked only of the living


@pytest.mark.parametrize(("left_s", "message"), [(-5.0, "has expired"), (299.0, "ends in 299 s")])
def test_a_certificate_that_ends_before_a_request_could_makes_unready(bench, left_s, message):
    bench.signer_left_s = left_s
    reason = bench.health.why_not_ready()
    assert isinstance(reason, SignerNotReady)
    assert message in reason.message
    assert bench.health.why_not_live() is None


def test_a_certificate_that_has_not_begun_makes_unready(bench):
    bench.signer_wait_s = 60.0
    reason = bench.health.why_not_ready()
    assert isinstance(reason, SignerNotReady)
    assert "begins in 60 s" in reason.message


def test_a_database_that_is_away_makes_unready_and_keeps_alive(bench):
    bench.ledger = LedgerUnavailable("away")
    assert bench.health.why_not_ready() is bench.ledger
    assert bench.health.why_not_live() is None


def test_a_full_queue_makes_unready_until_a_quarter_of_it_is_free(bench):
    found = []
    for bench.depth in (7, 8, 7, 8, 9, 7, 6, 7, 8):
        reason = bench.health.why_not_ready()
        assert reason is None or isinstance(reason, QueueFull)
        found.append(reason is None)
    assert found == [True, False, False, False, False, False, True, True, False]


@pytest.mark.parametrize(("max_images", "opens_at"), [(1, 0), (2, 1), (256, 192)])
def test_queues_of_every_size_close_and_open_again(max_images, opens_at):
    depth = max_images
    gate = QueueGate(lambda: depth, max_images)
    assert not gate.is_open()
    depth = opens_at + 1
    assert not gate.is_open()
    depth = opens_at
    assert gate.is_open()
