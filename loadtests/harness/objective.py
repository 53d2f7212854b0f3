"""What is good enough: a latency objective for each profile.

Absolute, or a multiple of what a request of the profile takes alone on the same server, as the
diffusion benchmarks of vLLM-Omni do with their `slo_scale`.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Literal

from loadtests.harness.request import Kind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from loadtests.harness.mix import Profile
    from loadtests.harness.request import Target

_UNIT_PX = 16 * 16
_PROMPT_SEED = 0

Basis = Literal["alone", "linear"]


class CalibrationFailed(Exception):
    """A request that was sent alone was not answered, so there is nothing to scale."""


@dataclass(frozen=True, slots=True)
class Scaled:
    """`scale` times the expected time.

    `basis` "alone": of each profile, measured. "linear": that of one step of 16x16 pixels, the
    median over the measured profiles, times steps, area and pictures, as vLLM-Omni estimates it;
    the profiles then have to state their size and steps.
    """

    scale: float
    basis: Basis = "alone"
    repeats: int = 3


async def measure_alone(
    target: Target, profiles: Sequence[Profile], prompt: str, repeats: int
) -> dict[str, float]:
    """Return the median seconds of each profile, asked one at a time on an idle server.

    One request of each comes first and does not count: it warms the server up. Raises
    CalibrationFailed if one is not answered.
    """
    loop = asyncio.get_running_loop()
    found = {}
    for profile in profiles:
        taken_s = []
        for _ in range(repeats + 1):
            began_s = loop.time()
            outcome = await target.send(profile.request(prompt, _PROMPT_SEED))
            if outcome.kind is not Kind.DONE:
                raise CalibrationFailed(
                    f"Profile '{profile.name}' was not answered when asked alone: "
                    f"{outcome.kind} {outcome.code}."
                )
            taken_s.append(loop.time() - began_s)
        found[profile.name] = median(taken_s[1:])
    return found


def work_units(profile: Profile) -> float:
    """Return steps x pixels / 256 x pictures. Raises ValueError unless the profile states both."""
    if profile.size_px is None or profile.num_inference_steps is None:
        raise ValueError(f"Profile '{profile.name}' needs size_px and num_inference_steps.")
    width_px, height_px = profile.size_px
    area = max(width_px * height_px / _UNIT_PX, 1.0)
    return area * profile.num_inference_steps * profile.n


def objectives_of(
    alone_s: Mapping[str, float], profiles: Sequence[Profile], scaled: Scaled
) -> dict[str, float]:
    """Return the objective of each profile in seconds, from what each took alone."""
    if scaled.basis == "alone":
        return {name: scaled.scale * taken_s for name, taken_s in alone_s.items()}
    unit_s = median(alone_s[each.name] / work_units(each) for each in profiles)
    return {each.name: scaled.scale * unit_s * work_units(each) for each in profiles}
