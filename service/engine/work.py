"""How long the accepted work will take, from how long steps have taken (for scaling and probes)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from service.engine.request_state import BatchKey, ImageState, Job

_WEIGHT = 0.1  # of the latest call in the moving averages


class StepTimes:
    """What denoiser calls take, by shape, as exponential moving averages.

    Written by the engine thread, read by any. Good enough to scale and to wait by; nothing that
    decides about pixels may depend on it.
    """

    def __init__(self) -> None:
        self._row_s: dict[BatchKey, float] = {}
        self._step_s: dict[BatchKey, float] = {}
        self._expected_s = 0.0

    @property
    def slowest_s(self) -> float:
        """Return the seconds of a call of the slowest shape, as expected before the first one."""
        return max(list(self._step_s.values()), default=self._expected_s)

    def expect(self, step_s: float) -> None:
        """Take note of how long the warm-up took, until a call has been measured."""
        self._expected_s = max(self._expected_s, step_s)

    def note(self, key: BatchKey, rows: int, step_s: float) -> None:
        """Take note of one call over `rows` rows."""
        self._row_s[key] = _averaged(self._row_s.get(key), step_s / rows)
        self._step_s[key] = _averaged(self._step_s.get(key), step_s)

    def row_s(self, key: BatchKey) -> float:
        """Return the seconds that one row of `key` adds to a call.

        A shape that has not been drawn yet counts like the shape of the same model that costs most
        per latent position; one of a model that has drawn nothing yet, like that of any other.
        Returns 0 before the first call.
        """
        known = self._row_s.get(key)
        if known is not None:
            return known
        measured = list(self._row_s.items())
        kin = [pair for pair in measured if pair[0].model_id == key.model_id] or measured
        dearest = max((row_s / _positions(other) for other, row_s in kin), default=0.0)
        return dearest * _positions(key)


def remaining_s(
    times: StepTimes, running: Iterable[ImageState], waiting: Iterable[tuple[Job, int]]
) -> float:
    """Return the denoiser seconds that the images still take.

    Rows times steps left times seconds per row, summed over images. `waiting`: jobs, each with how
    many of its images wait.
    """
    begun = sum(
        state.rows * (state.job.table.num_steps - state.step_index) * times.row_s(state.key)
        for state in running
    )
    ahead = sum(
        images * job.rows_per_image * job.table.num_steps * times.row_s(job.key)
        for job, images in waiting
    )
    return begun + ahead


def _averaged(before: float | None, sample: float) -> float:
    return sample if before is None else before + _WEIGHT * (sample - before)


def _positions(key: BatchKey) -> int:
    _, height, width = key.latent_shape
    return height * width
