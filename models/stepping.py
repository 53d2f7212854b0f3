"""The one update that every solver table asks for, for any array library (stop 7)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models.interface import Array


def advance(
    x: Array,
    out: Array,
    history: Array | None,
    noise: Array | None,
    coefficients: Sequence[Array],
) -> tuple[Array, Array | None]:
    """Return (x', h'): the samples after one step, and what the next step needs to know of it.

    x, out: samples and the network's guided output, (R, C, h, w). coefficients: the columns
    a, b, c, d, p, q of `SolverTable` for each row's own step, float32, (R, 1, 1, 1) each.
    history: h of each row, zero before its first step; None if c, p and q are 0 in all rows, and
    then h' is None. noise: z of each row; None if d is 0 in all rows. Rows that do not need theirs
    must hold finite values, or 0 * inf would reach them. Changes no argument.

    A row's bits do not depend on its neighbours, nor on whether their needs brought in a term that
    is zero for this row.
    """
    a, b, c, d, p, q = coefficients
    x_next = a * x + b * out
    if history is not None:
        x_next = x_next + c * history
        history = p * x + q * out
    if noise is not None:
        x_next = x_next + d * noise
    # A zero term can still change the sign of a zero (-0.0 + 0.0 is 0.0). Adding 0.0 last leaves
    # only positive zeros, with or without the terms above.
    return x_next + 0.0, history
