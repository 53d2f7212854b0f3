"""What a simulated fleet did, and the figures that objectives are about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from service.planning.simulate import Ending

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """Every request by arrival. `endings` (requests,): `Ending`. `latencies_s`: to the answer.

    `held_s`: from when to when each replica was held, starting and draining included.
    `most_replicas`: at any time. `length_s`: how long arrivals came.
    """

    arrivals_s: NDArray[np.float64]
    latencies_s: NDArray[np.float64]
    endings: NDArray[np.int8]
    images: NDArray[np.int64]
    held_s: tuple[tuple[float, float], ...]
    most_replicas: int
    length_s: float

    def figures(self, latency_limit_s: float | None, warm_up_s: float = 0.0) -> Figures:
        """Return the figures of the requests that came at `warm_up_s` or later."""
        is_counted = self.arrivals_s >= warm_up_s
        is_done = is_counted & (self.endings == Ending.DONE)
        latencies_s = np.sort(self.latencies_s[is_done])
        is_good = is_done
        if latency_limit_s is not None:
            is_good = is_done & (self.latencies_s <= latency_limit_s)
        total = int(is_counted.sum())
        counted_s = self.length_s - warm_up_s
        return Figures(
            requests=total,
            latencies_s=latencies_s,
            goodput=_share(is_good, total),
            refusals=_share(is_counted & (self.endings == Ending.REFUSED), total),
            expiries=_share(is_counted & (self.endings == Ending.EXPIRED), total),
            images_per_s=float(self.images[is_done].sum()) / counted_s,
            mean_replicas=sum(
                max(0.0, min(end_s, self.length_s) - max(begin_s, warm_up_s))
                for begin_s, end_s in self.held_s
            )
            / counted_s,
            most_replicas=self.most_replicas,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Figures:
    """Shares are 0 .. 1 of all counted requests. `latencies_s`: of answered ones, ascending.

    `goodput`: answered within the limit, or at all without one.
    """

    requests: int
    latencies_s: NDArray[np.float64]
    goodput: float
    refusals: float
    expiries: float
    images_per_s: float
    mean_replicas: float
    most_replicas: int

    def percentile_s(self, percent: float) -> float:
        """Return the latency that `percent` of the answered requests do not exceed.

        By nearest rank; infinite if none was answered.
        """
        count = len(self.latencies_s)
        if not count:
            return float("inf")
        rank = int(np.ceil(percent / 100 * count))
        return float(self.latencies_s[max(0, rank - 1)])


def _share(which: NDArray[np.bool_], total: int) -> float:
    return float(which.sum()) / total if total else 0.0
