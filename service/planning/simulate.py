"""One replica, event by event: the engine's policy on a clock that costs nothing.

It follows service.engine.loop turn for turn (drop, admit, step, decode). Where consecutive turns
would repeat the same call, it takes them in one go, and an arrival that may join ends the run at
the next turn. tests/unit/planning/test_engine_parity.py holds it to the engine's own batches.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

from service.planning.batch import Group, Image, Steps, TurnTaking

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from service.planning.batch import Job

NEVER_S = math.inf
# Sums of the row budget are made in another order than the engine's.
_BUDGET_SLACK = 1e-9


class Ending(IntEnum):
    """How a simulated request ends."""

    DONE = 0
    REFUSED = 1
    EXPIRED = 2


@dataclass(frozen=True, slots=True)
class Limits:
    """The settings that decide: of service.engine.options, and the server's marking threads."""

    max_batch_rows: int
    max_queued_images: int
    request_timeout_s: float
    marking_threads: int


class MarkingStation:
    """The threads that mark pictures: first come, first served, apart from the engine."""

    def __init__(self, threads: int) -> None:
        self._free_at_s = [0.0] * threads

    def finish_s(self, now_s: float, mark_s: float) -> float:
        """Put one picture in and return when it is ready. Calls come in the order of time."""
        began_s = max(now_s, self._free_at_s[0])
        heapq.heapreplace(self._free_at_s, began_s + mark_s)
        return began_s + mark_s


class Replica:
    """A server: its queue, its engine thread, its marking threads.

    answer: told once of each request (job, ending, at_s); at_s may lie ahead, while it is marked.
    on_steps: told of each run of equal calls, for tests.
    Whoever drives it calls `put` and `act` in the order of time, arrivals first, and calls `act`
    at `next_s` whenever that has come.
    """

    def __init__(
        self,
        limits: Limits,
        answer: Callable[[Job, Ending, float], None],
        on_steps: Callable[[Steps], None] | None = None,
    ) -> None:
        self._limits = limits
        self._answer = answer
        self._on_steps = on_steps
        self._marking = MarkingStation(limits.marking_threads)
        self._queue: deque[Image] = deque()
        self._live: deque[Job] = deque()  # as they came, so by deadline; those that ended as well
        self._turns = TurnTaking()
        self._undecoded: deque[Image] = deque()
        self._used = 0.0
        self._running = 0
        self._owed_s = 0.0  # what marking has taken from the device and no step has paid yet
        self._steps: Steps | None = None
        self._now_s = 0.0
        self._engine = self._run()
        self.next_s = next(self._engine)

    def seconds_of_work(self, now_s: float) -> float:
        """Return what the engine reports for autoscaling, as service.engine.work estimates it."""
        steps = self._steps
        done = 0 if steps is None else steps.done_at(now_s)
        return self._turns.remaining_s([image.job for image in self._queue], steps, done)

    def put(self, job: Job, now_s: float) -> bool:
        """Queue a request, or refuse it, and tell which. `next_s` may change."""
        depth = len(self._queue)
        if depth and depth + job.num_images > self._limits.max_queued_images:
            self._answer(job, Ending.REFUSED, now_s)
            return False
        self._queue.extend([Image(job, index) for index in range(job.num_images)])
        self._live.append(job)
        if self.next_s == NEVER_S:
            self.next_s = now_s
        elif not depth and self._steps is not None and self._has_room(job):
            self.next_s = self._steps.end_after(now_s)
        return True

    def act(self) -> None:
        """Let the engine go on at `next_s`, until its next wait."""
        self._now_s = self.next_s
        self.next_s = next(self._engine)

    def _run(self) -> Iterator[float]:
        """Yield until when the engine's thread is busy; the loop of EngineLoop.tick."""
        while True:
            if not (self._queue or self._turns or self._undecoded):
                self._owed_s = 0.0
                yield NEVER_S
            self._drop_expired()
            while self._queue and self._has_room(self._queue[0].job):
                image = self._take()
                if image.index == 0 and image.job.costs.join_s:
                    yield self._now_s + image.job.costs.join_s
                self._turns.add(image)
            group = self._turns.next_group()
            if group is not None:
                self._steps = self._plan(group)
                yield self._steps.end_s
                self._finish(self._steps)
                self._steps = None
            for _ in range(1 if self._turns else len(self._undecoded)):
                if not self._undecoded:
                    break
                yield self._now_s + self._undecoded[0].job.costs.decode_s
                self._decoded()

    def _drop_expired(self) -> None:
        live, now_s = self._live, self._now_s
        while live and (live[0].is_over or live[0].deadline_s <= now_s):
            job = live.popleft()
            if not job.is_over:
                self._expire(job)

    def _expire(self, job: Job) -> None:
        job.is_over = True
        self._queue = deque(image for image in self._queue if image.job is not job)
        gone = self._turns.remove(job)
        gone += sum(image.job is job for image in self._undecoded)
        self._undecoded = deque(image for image in self._undecoded if image.job is not job)
        self._free(job, gone)
        self._answer(job, Ending.EXPIRED, self._now_s)

    def _has_room(self, job: Job) -> bool:
        wanted = self._used + job.costs.budget
        return not self._running or wanted <= self._limits.max_batch_rows + _BUDGET_SLACK

    def _take(self) -> Image:
        image = self._queue.popleft()
        self._used += image.job.costs.budget
        self._running += 1
        return image

    def _free(self, job: Job, images: int) -> None:
        self._running -= images
        self._used = self._used - images * job.costs.budget if self._running else 0.0

    def _plan(self, group: Group) -> Steps:
        """Return the calls until something else may happen: one, unless nobody can interfere."""
        step_s = group.step_s
        start_s = self._now_s + self._owed_s
        self._owed_s = 0.0
        count = 1
        if self._turns.is_alone and not self._undecoded:
            count = group.steps_until_one_ends
            # The first turn that begins at or after a deadline drops somebody.
            while self._live[0].is_over:
                self._live.popleft()
            until_s = self._live[0].deadline_s - start_s
            count = max(1, min(count, math.ceil(until_s / step_s)))
        return Steps(group, start_s, step_s, count)

    def _finish(self, steps: Steps) -> None:
        if self._on_steps is not None:
            self._on_steps(steps)
        self._turns.advance(steps)
        self._undecoded.extend(self._turns.take_finished(steps.group))

    def _decoded(self) -> None:
        """Hand the first undecoded picture to the marking, as DecodeQueue.decode_next does."""
        job = self._undecoded.popleft().job
        self._free(job, 1)
        self._owed_s += job.costs.mark_delay_s
        job.marked_s = max(job.marked_s, self._marking.finish_s(self._now_s, job.costs.mark_s))
        job.images_left -= 1
        if job.images_left:
            return
        job.is_over = True
        if job.marked_s > job.deadline_s:
            self._answer(job, Ending.EXPIRED, max(self._now_s, job.deadline_s))
        else:
            self._answer(job, Ending.DONE, job.marked_s)
