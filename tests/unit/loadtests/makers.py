"""Samples and requests with what a test does not care about filled in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

from loadtests.harness.open_loop import LoadOptions, Planned, Recording, Sample, offer
from loadtests.harness.request import ImageRequest, Kind, Outcome

DONE = Outcome(kind=Kind.DONE, pictures=(b"picture",))


def make_request(**overrides) -> ImageRequest:
    return replace(ImageRequest(profile="p", prompt="a red apple", seed=1), **overrides)


def make_sample(**overrides) -> Sample:
    ordinary = Sample(
        number=0,
        profile="p",
        due_s=1.0,
        sent_s=1.0,
        done_s=2.0,
        kind=Kind.DONE,
        code="",
        is_patient=True,
        pictures=1,
    )
    return replace(ordinary, **overrides)


def plan_every(gap_s: float, count: int, **overrides) -> list[Planned]:
    return [Planned(index * gap_s, make_request(**overrides)) for index in range(count)]


class AnswersAfter:
    """A server that answers everything, each after the time that a function of now says."""

    def __init__(self, delay_s: Callable[[float], float], outcome: Outcome = DONE) -> None:
        self._delay_s = delay_s
        self._outcome = outcome
        self.asked_at_s: list[float] = []
        self.abandoned = 0

    async def send(self, request: ImageRequest) -> Outcome:
        now_s = asyncio.get_running_loop().time()
        self.asked_at_s.append(now_s)
        try:
            await asyncio.sleep(self._delay_s(now_s))
        except asyncio.CancelledError:
            self.abandoned += 1
            raise
        return self._outcome


async def play(plan: list[Planned], target, **options) -> Recording:
    return await offer(plan, target, replace(LoadOptions(duration_s=10.0), **options))
