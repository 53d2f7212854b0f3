"""Which images share the next denoiser call: pure planning, no tensors (stop 6)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from service.engine.request_state import BatchKey, ImageState, Job


@dataclass(frozen=True, slots=True)
class StepBatch:
    """The images of one denoiser call; all share `key`."""

    key: BatchKey
    states: tuple[ImageState, ...]

    @property
    def rows(self) -> int:
        """Return the rows of the call, guidance rows included."""
        return sum(state.rows for state in self.states)


class RowBudget:
    """Row capacity, in rows at each model's native latent size.

    A larger picture costs its share of latent positions more; a smaller one is not cheaper, which
    also bounds the number of images running at once by the number of rows.
    """

    def __init__(self, max_rows: int, native_positions: dict[str, int]) -> None:
        self._max_rows = max_rows
        self._native_positions = native_positions

    def cost(self, job: Job) -> float:
        """Return what one image of `job` takes of the budget."""
        _, height, width = job.key.latent_shape
        native = self._native_positions[job.key.model_id]
        return job.rows_per_image * max(1.0, height * width / native)

    def has_room(self, active: Iterable[ImageState], job: Job) -> bool:
        """Tell whether one image of `job` may join `active`. An empty engine takes anything."""
        used = sum(self.cost(state.job) for state in active)
        return used == 0 or used + self.cost(job) <= self._max_rows


class BatchPlanner:
    """Chooses whose turn it is: the key that has been given the least work so far.

    One key runs per tick, with all its active images. Keys that join start level with the least
    served, so a newcomer neither waits for the others' past nor makes them wait for its own.
    """

    def __init__(self) -> None:
        self._served: dict[BatchKey, float] = {}

    def plan_step(self, active: Sequence[ImageState]) -> StepBatch | None:
        """Return the next call, or None if nothing is active."""
        groups: dict[BatchKey, list[ImageState]] = {}
        for state in active:
            groups.setdefault(state.key, []).append(state)
        if not groups:
            self._served.clear()
            return None
        floor = min((self._served[key] for key in groups if key in self._served), default=0.0)
        self._served = {key: self._served.get(key, floor) for key in groups}
        key = min(groups, key=lambda candidate: self._served[candidate])
        batch = StepBatch(key, tuple(groups[key]))
        _, height, width = key.latent_shape
        self._served[key] += batch.rows * height * width
        return batch
