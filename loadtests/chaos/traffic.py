"""Open-loop clients that go on asking for as long as a scenario lasts."""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from loadtests.harness.open_loop import Sample
from loadtests.harness.request import ImageRequest, Kind, Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loadtests.harness.request import Target

PROMPTS = ("a red apple", "a green apple", "a panda", "a rocket")


class Traffic:
    """Open-loop clients that come at random moments until they are told to stop.

    `request_timeout_s`: how long a client waits. `max_in_flight`: who comes beyond is counted and
    not sent. `samples`: what came of each, times from `began_s` on.
    """

    def __init__(
        self,
        target: Target,
        profiles: Sequence[ImageRequest],
        rate_per_s: float,
        *,
        request_timeout_s: float = 120.0,
        max_in_flight: int = 400,
    ) -> None:
        self.samples: list[Sample] = []
        self.in_flight = 0
        self._received: list[tuple[float, bytes]] = []
        self.began_s = asyncio.get_running_loop().time()
        self._target = target
        self._profiles = profiles
        self._rate_per_s = rate_per_s
        self._request_timeout_s = request_timeout_s
        self._max_in_flight = max_in_flight
        self._rng = np.random.default_rng(7)
        self._is_stopping = asyncio.Event()

    def now_s(self) -> float:
        """Return the seconds since it began."""
        return asyncio.get_running_loop().time() - self.began_s

    def pictures(self, since_s: float = 0.0, until_s: float = math.inf) -> list[bytes]:
        """Return the pictures that were asked for from one moment on and before another."""
        return [picture for sent_s, picture in self._received if since_s <= sent_s < until_s]

    async def until_answered(self, codes: frozenset[str], count: int, within_s: float) -> bool:
        """Wait until so many answers had one of these codes; return whether they came in time."""
        ends_s = self.now_s() + within_s
        while self.now_s() < ends_s:
            if sum(sample.code in codes for sample in self.samples) >= count:
                return True
            await asyncio.sleep(0.05)
        return False

    def take(self, other: Traffic) -> None:
        """Count what came of other clients, who have all gone, as if they were ours."""
        offset_s = other.began_s - self.began_s
        self._received += [(sent_s + offset_s, content) for sent_s, content in other._received]
        self.samples += [
            replace(
                sample,
                due_s=sample.due_s + offset_s,
                sent_s=sample.sent_s + offset_s,
                done_s=sample.done_s + offset_s,
            )
            for sample in other.samples
        ]

    def stop(self) -> None:
        """Let nobody come any more; who is waiting is waited for."""
        self._is_stopping.set()

    async def run(self) -> None:
        """Send until stopped, and return when the last client has its answer."""
        number, due_s = 0, self.now_s()
        async with asyncio.TaskGroup() as group:
            while not await self._is_over_at(due_s):
                request = self.draw(self._profiles[number % len(self._profiles)])
                if self.in_flight >= self._max_in_flight:
                    overflow = Outcome(kind=Kind.OVERFLOW, code="max_in_flight")
                    self._note(number, request, due_s, due_s, overflow)
                else:
                    self.in_flight += 1
                    group.create_task(self._ask(number, request, due_s))
                number += 1
                due_s += self._rng.exponential(1 / self._rate_per_s)

    async def until_done(self, count: int, within_s: float) -> bool:
        """Wait until so many requests sent from now on have succeeded; tell whether they did."""
        began_s = self.now_s()
        while self.now_s() < began_s + within_s:
            done = [each for each in self.samples if each.kind is Kind.DONE]
            if sum(each.sent_s >= began_s for each in done) >= count:
                return True
            await asyncio.sleep(0.05)
        return False

    async def until_busy(self, in_flight: int) -> None:
        """Wait until so many requests are under way at once."""
        while self.in_flight < in_flight:  # noqa: ASYNC110 - too short for an event
            await asyncio.sleep(0.005)

    async def ask(self, request: ImageRequest) -> None:
        """Send one request beside the others, at once, and return when it has its answer."""
        self.in_flight += 1
        await self._ask(len(self.samples), request, self.now_s())

    async def _is_over_at(self, due_s: float) -> bool:
        try:
            async with asyncio.timeout(max(0.0, due_s - self.now_s())):
                await self._is_stopping.wait()
        except TimeoutError:
            return self._is_stopping.is_set()
        return True

    def draw(self, profile: ImageRequest) -> ImageRequest:
        """Return a request like `profile` for some prompt and seed."""
        prompt = PROMPTS[int(self._rng.integers(len(PROMPTS)))]
        return replace(profile, prompt=prompt, seed=int(self._rng.integers(2**62)))

    async def _ask(self, number: int, request: ImageRequest, due_s: float) -> None:
        sent_s = self.now_s()
        try:
            async with asyncio.timeout(self._request_timeout_s):
                outcome = await self._target.send(request)
        except TimeoutError:
            outcome = Outcome(kind=Kind.TIMED_OUT, code="client_timeout")
        finally:
            self.in_flight -= 1
        self._note(number, request, due_s, sent_s, outcome)

    def _note(
        self, number: int, request: ImageRequest, due_s: float, sent_s: float, outcome: Outcome
    ) -> None:
        self._received += [(sent_s, picture) for picture in outcome.pictures]
        self.samples.append(
            Sample(
                number=number,
                profile=request.profile,
                due_s=due_s,
                sent_s=sent_s,
                done_s=self.now_s(),
                kind=outcome.kind,
                code=outcome.code,
                is_patient=True,
                pictures=len(outcome.pictures),
            )
        )
