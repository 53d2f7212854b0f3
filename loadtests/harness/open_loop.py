"""Sends every request when it is due, whether or not earlier ones have been answered.

A closed loop waits for answers before it asks again, so a server that stalls is asked less while
it stalls, and the stall shows up in one latency instead of in all that it would have caused
(coordinated omission). Here nothing waits for answers: each request has the time it is due, and its
latency counts from there. What cannot be sent because too many are under way is counted, never
delayed.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from loadtests.harness.request import ImageRequest, Kind, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from loadtests.harness.request import Target


@dataclass(frozen=True, slots=True)
class Planned:
    """A request and when it is due, in seconds from the beginning of the run."""

    due_s: float
    request: ImageRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOptions:
    """Bounds of a run; the last request has gone `duration_s` + `drain_s` after the beginning.

    `max_in_flight`: requests under way at once; what is due beyond is not sent, but counted.
    `request_timeout_s`: how long a client waits. `drain_s`: how long after `duration_s` answers are
    waited for.
    """

    duration_s: float
    max_in_flight: int = 512
    request_timeout_s: float = 120.0
    drain_s: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One request of a run; times in seconds from its beginning.

    `sent_s`: when it was really sent; equal to `due_s` for one that was not. `is_patient`: its
    client neither leaves nor reads slowly, so what it saw is the server's doing. `pictures`: how
    many came.
    """

    number: int
    profile: str
    due_s: float
    sent_s: float
    done_s: float
    kind: Kind
    code: str
    is_patient: bool
    pictures: int = 0
    first_event_s: float | None = None

    @property
    def latency_s(self) -> float:
        """Return the seconds since it was due: what a caller saw."""
        return self.done_s - self.due_s

    @property
    def service_s(self) -> float:
        """Return the seconds since it was sent: what a tool reports that forgets its own delay."""
        return self.done_s - self.sent_s

    @property
    def lag_s(self) -> float:
        """Return by how much the generator was late."""
        return self.sent_s - self.due_s


@dataclass(frozen=True, slots=True)
class Recording:
    """A whole run: its samples, in the order in which they were due."""

    samples: tuple[Sample, ...]
    options: LoadOptions
    peak_in_flight: int


async def offer(
    plan: Sequence[Planned],
    target: Target,
    options: LoadOptions,
    *,
    on_outcome: Callable[[Sample, Outcome], None] | None = None,
    began_s: float | None = None,
) -> Recording:
    """Play a plan against a target and return what happened.

    plan: in the order of `due_s`. on_outcome: called with every outcome as it comes; it should be
    quick. began_s: the loop's time that counts as the beginning, now by default. An exception of
    `target.send` is a defect and ends the run with it (an ExceptionGroup).
    """
    loop = asyncio.get_running_loop()
    run = _Run(target, options, loop.time() if began_s is None else began_s, on_outcome)
    async with asyncio.TaskGroup() as group:
        for number, planned in enumerate(plan):
            # Late or not, the loop must get its turn to start what was sent before.
            await asyncio.sleep(max(0.0, run.began_s + planned.due_s - loop.time()))
            if run.in_flight >= options.max_in_flight:
                run.overflow(number, planned)
            else:
                run.in_flight += 1
                run.peak_in_flight = max(run.peak_in_flight, run.in_flight)
                group.create_task(run.ask(number, planned))
    samples = sorted(run.samples, key=lambda sample: sample.number)
    return Recording(tuple(samples), options, run.peak_in_flight)


class _Run:
    """What the requests of one run share."""

    def __init__(
        self,
        target: Target,
        options: LoadOptions,
        began_s: float,
        on_outcome: Callable[[Sample, Outcome], None] | None,
    ) -> None:
        self.began_s = began_s
        self.in_flight = 0
        self.peak_in_flight = 0
        self.samples: list[Sample] = []
        self._target = target
        self._options = options
        self._on_outcome = on_outcome
        self._over_at_s = began_s + options.duration_s + options.drain_s

    async def ask(self, number: int, planned: Planned) -> None:
        """Send one request and take note of what became of it."""
        loop = asyncio.get_running_loop()
        sent_at_s = loop.time()
        try:
            outcome = await self._outcome(planned.request, sent_at_s)
        finally:
            self.in_flight -= 1
        self._note(number, planned, outcome, (sent_at_s, loop.time()))

    def overflow(self, number: int, planned: Planned) -> None:
        """Take note of a request that there was no room to send."""
        at_s = self.began_s + planned.due_s
        outcome = Outcome(kind=Kind.OVERFLOW, code="max_in_flight")
        self._note(number, planned, outcome, (at_s, at_s))

    async def _outcome(self, request: ImageRequest, sent_at_s: float) -> Outcome:
        ends = [
            (sent_at_s + self._options.request_timeout_s, Kind.TIMED_OUT, "client_timeout"),
            (self._over_at_s, Kind.TIMED_OUT, "run_over"),
        ]
        if request.leave_after_s is not None:
            ends.append((sent_at_s + request.leave_after_s, Kind.LEFT, "client_left"))
        ends_at_s, kind, code = min(ends)
        try:
            async with asyncio.timeout_at(ends_at_s) as limit:
                return await self._target.send(request)
        except TimeoutError:
            if not limit.expired():
                raise
            return Outcome(kind=kind, code=code)

    def _note(
        self, number: int, planned: Planned, outcome: Outcome, sent_and_done_s: tuple[float, float]
    ) -> None:
        sent_s, done_s = sent_and_done_s
        request = planned.request
        sample = Sample(
            number=number,
            profile=request.profile,
            due_s=planned.due_s,
            sent_s=sent_s - self.began_s,
            done_s=done_s - self.began_s,
            kind=outcome.kind,
            code=outcome.code,
            is_patient=request.leave_after_s is None and request.read_bytes_per_s is None,
            pictures=len(outcome.pictures),
            first_event_s=outcome.first_event_s,
        )
        self.samples.append(sample)
        if self._on_outcome is not None:
            self._on_outcome(sample, outcome)
