"""Starting noise and step noise: functions of the seed alone, on any device (stop 5).

Why numpy: the draw happens on the host, so the same seed gives the same bits on every
accelerator and without torch, and Philox is a counter-based generator, so any stream of any seed
starts at once and no generator has to travel with a request. What is not promised: NEP 19 lets a
numpy release change how `Generator` turns bits into normal values. A golden test pins them; should
it ever fail after an upgrade, old seeds give new pictures and the change log has to say so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_SEED: Final = 2**63 - 1
# The second word of Philox's key: 0 for the starting noise, 1 + i for the noise of step i.
_INITIAL_STREAM: Final = 0
_FIRST_STEP_STREAM: Final = 1


def initial_noise(seed: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return the standard normal noise that a picture starts from.

    seed: 0 .. 2**63-1. Raises ValueError outside.
    """
    return _normal(seed, _INITIAL_STREAM, shape)


def step_noise(seed: int, step_index: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return the standard normal noise that a stochastic solver adds in step `step_index`.

    Independent of the starting noise and of every other step. seed: 0 .. 2**63-1; step_index: from
    0. Raises ValueError outside.
    """
    if step_index < 0:
        raise ValueError(f"step_index must not be negative, but is {step_index}")
    return _normal(seed, _FIRST_STEP_STREAM + step_index, shape)


def _normal(seed: int, stream: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
    if not 0 <= seed <= MAX_SEED:
        raise ValueError(f"seed must be 0 to {MAX_SEED}, not {seed}")
    key = np.array([seed, stream], np.uint64)
    return np.random.Generator(np.random.Philox(key=key)).standard_normal(shape, np.float32)
