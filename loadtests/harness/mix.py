"""Who comes: draws each client's request from weighted profiles, by a seed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from loadtests.harness.open_loop import Planned
from loadtests.harness.request import ImageRequest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loadtests.harness.arrivals import Arrivals

_LARGEST_SEED = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One kind of request, drawn in proportion to `weight`; the fields are those of ImageRequest.

    Requests of one profile cost the same, so a latency objective can be stated for it.
    """

    name: str
    weight: float = 1.0
    n: int = 1
    size_px: tuple[int, int] | None = None
    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    scheduler: str | None = None
    output_format: Literal["png", "jpeg", "webp"] | None = None
    is_streamed: bool = False
    partial_images: int = 0

    def request(self, prompt: str, seed: int) -> ImageRequest:
        """Return a request of this profile by a client that stays and reads."""
        return ImageRequest(
            profile=self.name,
            prompt=prompt,
            seed=seed,
            n=self.n,
            size_px=self.size_px,
            num_inference_steps=self.num_inference_steps,
            guidance_scale=self.guidance_scale,
            scheduler=self.scheduler,
            output_format=self.output_format,
            is_streamed=self.is_streamed,
            partial_images=self.partial_images,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Clients:
    """How clients behave. Shares are from 0 to 1; a client leaves, is slow, or neither.

    `leave_within_s`: leavers leave after a time that is uniform in (0, leave_within_s].
    """

    leave_share: float = 0.0
    leave_within_s: float = 1.0
    slow_share: float = 0.0
    slow_bytes_per_s: int = 16_384


@dataclass(frozen=True, slots=True)
class Workload:
    """Everything that is drawn from, beside the arrivals. `prompts` and `profiles` are not empty.

    `trace_profiles`: the profile of the i-th arrival by name, for traces that say so; "" draws.
    """

    profiles: tuple[Profile, ...]
    prompts: tuple[str, ...]
    clients: Clients = Clients()
    trace_profiles: tuple[str, ...] = ()


def plan_requests(
    arrivals: Arrivals, workload: Workload, *, duration_s: float, seed: int
) -> list[Planned]:
    """Return every request of a run with the time it is due, in order.

    Times and requests come from independent streams of the seed: another mix keeps the times.
    """
    times_rng, request_rng = np.random.default_rng(seed).spawn(2)
    times = arrivals.times_s(duration_s, times_rng)
    return [
        Planned(float(at_s), _draw(workload, index, request_rng))
        for index, at_s in enumerate(times)
    ]


def _draw(workload: Workload, index: int, rng: np.random.Generator) -> ImageRequest:
    profile = _profile(workload, index, rng)
    prompt = workload.prompts[int(rng.integers(len(workload.prompts)))]
    request = profile.request(prompt, int(rng.integers(_LARGEST_SEED)))
    return _behaving(request, workload.clients, rng)


def _profile(workload: Workload, index: int, rng: np.random.Generator) -> Profile:
    # Drawn in any case, so that a trace's names do not shift what is drawn after them.
    drawn = workload.profiles[_weighted([each.weight for each in workload.profiles], rng)]
    if index < len(workload.trace_profiles) and workload.trace_profiles[index]:
        by_name = {each.name: each for each in workload.profiles}
        return by_name[workload.trace_profiles[index]]
    return drawn


def _weighted(weights: Sequence[float], rng: np.random.Generator) -> int:
    edges = np.cumsum(weights)
    return int(np.searchsorted(edges, rng.uniform(0, edges[-1]), side="right"))


def _behaving(request: ImageRequest, clients: Clients, rng: np.random.Generator) -> ImageRequest:
    lot, patience = rng.uniform(size=2)
    leaves = lot < clients.leave_share
    is_slow = not leaves and lot < clients.leave_share + clients.slow_share
    return replace(
        request,
        leave_after_s=float(1 - patience) * clients.leave_within_s if leaves else None,
        read_bytes_per_s=clients.slow_bytes_per_s if is_slow else None,
    )
