"""Turn by turn: which server is up when, what it is asked, and what is kept of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from loadtests.harness.request import ImageRequest, Kind, Outcome
from loadtests.machine import MachineTime
from loadtests.peers.fleet import Opened
from loadtests.peers.options import Options, SubjectName, steps_load
from loadtests.peers.runner import Evidence, run
from tests.unit.loadtests.virtual_time import VirtualLoop

SIGNED = b"\x89PNG ....jumb....c2pa\x00...."
OPTIONS = Options(
    rounds=2,
    fractions=(0.5,),
    subjects=("mintmark", "plain"),
    loads=(steps_load("uniform", 4),),
    burst=8,
    duration_s=10.0,
    warmup_requests=2,
    alone_repeats=1,
)


class OneAtATime:
    """A server that draws one picture per `draw_s`; CPU time is the time that it draws."""

    def __init__(self, draw_s: float, picture: bytes, tail_s: float = 0.0) -> None:
        self._draw_s, self._picture, self._tail_s = draw_s, picture, tail_s
        self._lock = asyncio.Lock()
        self._drawn = 0
        self._ended_at_s = 0.0

    async def send(self, request: ImageRequest) -> Outcome:
        async with self._lock:
            await asyncio.sleep(self._draw_s)
        self._drawn += 1
        self._ended_at_s = asyncio.get_running_loop().time()
        return Outcome(kind=Kind.DONE, pictures=(self._picture,))

    def cpu_s(self) -> float:
        """Return the time taken; for `tail_s` after each picture the server goes on computing."""
        since_s = asyncio.get_running_loop().time() - self._ended_at_s
        return self._drawn * self._draw_s + min(since_s, self._tail_s)


class FakeFleet:
    """Notes which servers were up and that there was never more than one."""

    def __init__(self, tail_s: float = 0.0) -> None:
        self.opened: list[SubjectName] = []
        self._tail_s = tail_s
        self._up = 0

    @asynccontextmanager
    async def open(self, subject: SubjectName) -> AsyncIterator[Opened]:
        assert self._up == 0
        self._up += 1
        self.opened.append(subject)
        is_ours = subject == "mintmark"
        picture = SIGNED if is_ours else b"\x89PNG"
        server = OneAtATime(0.25 if is_ours else 0.5, picture, 0.0 if is_ours else self._tail_s)
        yield Opened(server, None, server.cpu_s)
        self._up -= 1


def play(fleet: FakeFleet, options: Options = OPTIONS) -> Evidence:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(
            run(options, fleet, lambda text: None, lambda: MachineTime(0.0, 1.0, 0.0))
        )


def test_capacity_is_measured_first_and_then_subjects_take_turns():
    fleet = FakeFleet()

    play(fleet)

    assert fleet.opened == ["mintmark", "mintmark", "plain", "mintmark", "plain"]


def test_rates_follow_from_the_baselines_capacity():
    evidence = play(FakeFleet())

    assert evidence.capacities_per_s == {"uniform": pytest.approx(4.0)}
    rates = [each.rate_per_s for each in evidence.taken if each.cell.fraction is not None]
    assert rates == [pytest.approx(2.0)] * 4


def test_every_subject_is_asked_the_same_in_a_round():
    evidence = play(FakeFleet())

    due = {
        (each.turn.subject, each.turn.round_number): [sample.due_s for sample in each.samples]
        for each in evidence.taken
        if each.cell.fraction == 0.5
    }

    assert len(due) == 4
    assert due["mintmark", 0] == due["plain", 0]
    assert due["mintmark", 0] != due["mintmark", 1]


def test_what_each_server_took_and_signed_is_its_own():
    evidence = play(FakeFleet())

    bursts = [each for each in evidence.taken if each.cell.fraction is None]

    assert {(each.turn.subject, each.cpu_s, each.signed) for each in bursts} == {
        ("mintmark", 2.0, 8),
        ("plain", 4.0, 0),
    }


def test_requests_alone_are_measured_once_per_turn_without_the_warm_up():
    evidence = play(FakeFleet())

    assert [turn.subject for turn, _ in evidence.alone_s] == ["mintmark", "plain"] * 2
    alone_s = [taken["4 steps"] for _, taken in evidence.alone_s]
    assert alone_s == pytest.approx([0.25, 0.5] * 2)


def test_a_server_that_does_not_come_to_rest_is_replaced_and_no_cell_is_lost():
    fleet = FakeFleet(tail_s=100.0)

    evidence = play(fleet)

    assert fleet.opened == [
        "mintmark",
        *["mintmark", "plain", "plain"] * 2,
    ]
    assert len(evidence.taken) == 8
    assert len(evidence.alone_s) == 4
