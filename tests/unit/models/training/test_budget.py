"""When a run stops early."""

from __future__ import annotations

import os
import signal

from models.training.budget import Budget


def test_time_runs_from_the_start():
    now = [100.0]
    budget = Budget(0.5, clock=lambda: now[0])
    assert not budget.is_spent
    now[0] = 129.9
    assert not budget.is_spent
    now[0] = 130.0
    assert budget.is_spent


def test_without_minutes_there_is_no_end():
    budget = Budget(clock=lambda: 1e9)
    assert not budget.is_spent


def test_the_first_interrupt_asks_and_gives_the_signal_back(capsys):
    before = signal.getsignal(signal.SIGINT)
    with Budget() as budget:
        assert signal.getsignal(signal.SIGINT) != before
        os.kill(os.getpid(), signal.SIGINT)
        assert budget.is_spent
        assert signal.getsignal(signal.SIGINT) == before
    assert "Stopping after this step" in capsys.readouterr().out


def test_signals_are_given_back_at_the_end():
    before = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
    with Budget():
        pass
    assert [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)] == before
