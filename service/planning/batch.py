"""What a simulated replica runs: requests, their images, and whose turn it is."""

from __future__ import annotations

import heapq
import itertools
import math
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service.planning.workload import KindCosts


_ESTIMATE_WEIGHT = 0.1  # of the latest call, as in service.engine.work


@dataclass(slots=True, eq=False)
class Job:
    """One request. `number`: its place among all. `marked_s`: when its marks were ready."""

    number: int
    costs: KindCosts
    arrived_s: float
    deadline_s: float
    images_left: int = field(init=False)
    marked_s: float = 0.0
    is_over: bool = False

    def __post_init__(self) -> None:
        """Start with all images to draw."""
        self.images_left = self.num_images

    @property
    def num_images(self) -> int:
        """Return how many pictures it asks for."""
        return self.costs.kind.num_images


@dataclass(slots=True, eq=False)
class Image:
    """One picture of a request. `is_gone`: it does not step any more."""

    job: Job
    index: int
    is_gone: bool = False
    order: int = 0


class Group:
    """The running images of one batch key: they take every step of the group together."""

    def __init__(self, step_table_s: tuple[float, ...], positions: int) -> None:
        self._step_table_s = step_table_s
        self.positions = positions
        self._steps_taken = 0
        # By the step they end with; images that end together leave in the order they joined.
        self._ends: list[tuple[int, int, Image]] = []
        self._members: deque[Image] = deque()  # as they joined, those that left as well
        self.rows = 0
        self.served = 0.0
        self.row_s: float | None = None  # seconds per row and call, as service.engine.work averages

    @property
    def is_empty(self) -> bool:
        """Tell whether nothing runs."""
        return not self.rows

    @property
    def step_s(self) -> float:
        """Return the seconds of its next call."""
        return self._step_table_s[self.rows]

    @property
    def work(self) -> int:
        """Return what one call counts for when turns are shared: rows x latent positions."""
        return self.rows * self.positions

    @property
    def row_steps_left(self) -> int:
        """Return rows x steps that its images still take."""
        ends = [(end, image) for end, _, image in self._ends if not image.is_gone]
        return sum((end - self._steps_taken) * image.job.costs.rows for end, image in ends)

    @property
    def steps_until_one_ends(self) -> int:
        """Return the calls until the next image is denoised."""
        while self._ends[0][2].is_gone:
            heapq.heappop(self._ends)
        return self._ends[0][0] - self._steps_taken

    @property
    def eldest(self) -> int:
        """Return when its first running image joined, as a number among all."""
        while self._members[0].is_gone:
            self._members.popleft()
        return self._members[0].order

    @property
    def images(self) -> list[Image]:
        """Return the running images in the order they joined."""
        return [image for image in self._members if not image.is_gone]

    def add(self, image: Image) -> None:
        """Let an image step from the next call on."""
        costs = image.job.costs
        heapq.heappush(self._ends, (self._steps_taken + costs.kind.steps, image.order, image))
        self._members.append(image)
        self.rows += costs.rows

    def remove(self, image: Image) -> None:
        """Take an image out before its end."""
        image.is_gone = True
        self.rows -= image.job.costs.rows

    def advance(self, count: int) -> None:
        """Take `count` calls; not beyond the first image's end."""
        sample_s = self.step_s / self.rows
        before_s = sample_s if self.row_s is None else self.row_s
        self.row_s = sample_s + (before_s - sample_s) * (1 - _ESTIMATE_WEIGHT) ** count
        self._steps_taken += count

    def take_finished(self) -> list[Image]:
        """Remove and return the images that have taken their last step."""
        finished = []
        while self._ends and self._ends[0][0] <= self._steps_taken:
            _, _, image = heapq.heappop(self._ends)
            if not image.is_gone:
                self.remove(image)
                finished.append(image)
        return finished


@dataclass(slots=True)
class Steps:
    """A run of `count` equal calls of one group. Seconds."""

    group: Group
    start_s: float
    step_s: float
    count: int

    @property
    def end_s(self) -> float:
        """Return when the last call ends."""
        return self.start_s + self.count * self.step_s

    def done_at(self, now_s: float) -> int:
        """Return how many of its calls have ended."""
        return max(0, min(self.count, int((now_s - self.start_s) / self.step_s)))

    def end_after(self, now_s: float) -> float:
        """Cut the run at the end of the call that is under way at `now_s`, and return that end."""
        calls = math.ceil((now_s - self.start_s) / self.step_s)
        self.count = max(1, min(self.count, calls))
        return self.end_s


class TurnTaking:
    """Shares calls among groups as service.engine.batching.BatchPlanner does.

    One group runs per turn: the one that has been given the least work. One that joins starts level
    with the least served.
    """

    def __init__(self) -> None:
        self._groups: dict[int, Group] = {}
        self._running: list[Group] = []
        self._known: list[Group] = []  # whose share of the past counts
        self._orders = itertools.count()

    def __bool__(self) -> bool:
        """Tell whether any image runs."""
        return bool(self._running)

    @property
    def is_alone(self) -> bool:
        """Tell whether only one group runs."""
        return len(self._running) == 1

    def add(self, image: Image) -> None:
        """Let an image run."""
        costs = image.job.costs
        group = self._groups.get(costs.key)
        if group is None:
            group = self._groups[costs.key] = Group(costs.step_s, costs.positions)
        if group.is_empty:
            self._running.append(group)
        image.order = next(self._orders)
        group.add(image)

    def remove(self, job: Job) -> int:
        """Take all running images of `job` out; return how many there were."""
        group = self._groups.get(job.costs.key)
        gone = [] if group is None else [image for image in group.images if image.job is job]
        for image in gone:
            assert group is not None
            group.remove(image)
        self._forget_empty()
        return len(gone)

    def next_group(self) -> Group | None:
        """Return whose turn it is; None if nothing runs."""
        running = self._running
        if len(running) == 1 and self._known == running:
            return running[0]
        known = [group for group in self._known if not group.is_empty]
        floor = min((group.served for group in known), default=0.0)
        for group in running:
            if group not in known:
                group.served = floor
        self._known = list(running)
        if not running:
            return None
        return min(running, key=lambda group: (group.served, group.eldest))

    def advance(self, steps: Steps) -> None:
        """Take the calls of a run."""
        steps.group.served += steps.count * steps.group.work
        steps.group.advance(steps.count)

    def take_finished(self, group: Group) -> list[Image]:
        """Remove and return the images of a group that have taken their last step."""
        finished = group.take_finished()
        if finished:
            self._forget_empty()
        return finished

    def remaining_s(self, waiting: Sequence[Job], run: Steps | None, done: int) -> float:
        """Return the denoiser seconds left, by what rows have taken lately.

        waiting: the job of each waiting image. run, done: the run under way, and how many of its
        calls have ended. A key that has not run yet counts like the dearest other per position.
        """
        measured = [each for each in self._groups.values() if each.row_s is not None]
        dearest = max(((each.row_s or 0.0) / each.positions for each in measured), default=0.0)
        row_s = {key: group.row_s for key, group in self._groups.items()}
        left_s = 0.0
        for group in self._running:
            row_steps = group.row_steps_left - (
                done * group.rows if run and run.group is group else 0
            )
            left_s += row_steps * (group.row_s or dearest * group.positions)
        for costs in (job.costs for job in waiting):
            each_s = row_s.get(costs.key) or dearest * costs.positions
            left_s += costs.rows * costs.kind.steps * each_s
        return left_s

    def _forget_empty(self) -> None:
        self._running = [group for group in self._running if not group.is_empty]
