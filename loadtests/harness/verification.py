"""Keeps a sample of the pictures during a run, and has their marks checked after it.

After, not meanwhile: verifying costs the server as much CPU as it is measured for. What needs no
server is looked at in every picture: whether it carries credentials at all.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from loadtests.harness.open_loop import Sample
    from loadtests.harness.request import Outcome

# The label of a C2PA manifest store within its JUMBF box, in every format that carries one.
_STORE_BOX, _STORE_LABEL = b"jumb", b"c2pa\x00"
PROVEN = "ai_generated_by_us/proof"


class Verifier(Protocol):
    """Says where a picture comes from, as "verdict/confidence"."""

    async def verdict(self, content: bytes) -> str:
        """Return the verdict over one file."""
        ...


@dataclass(frozen=True, slots=True)
class Verification:
    """What was found in the pictures of a run.

    `pictures`: all that came. `without_credentials`: those of them without a C2PA store.
    `verified`: those that the verify API was asked about, by verdict. `unsigned`: pictures that are
    not proven to be the server's own, of either check.
    """

    pictures: int
    without_credentials: int
    verified: int
    verdicts: dict[str, int]
    unsigned: int


class PictureSample:
    """Collects a share of the pictures, chosen by a seed, at most `max_kept` of them."""

    def __init__(self, share: float, *, max_kept: int, seed: int) -> None:
        self._share = share
        self._max_kept = max_kept
        self._rng = np.random.default_rng(seed)
        self._kept: list[bytes] = []
        self._pictures = 0
        self._without_credentials = 0

    def add(self, sample: Sample, outcome: Outcome) -> None:  # noqa: ARG002 - a hook of `offer`
        """Look at the pictures of one answer; keep some."""
        for content in outcome.pictures:
            self._pictures += 1
            self._without_credentials += not has_credentials(content)
            if self._rng.uniform() < self._share and len(self._kept) < self._max_kept:
                self._kept.append(content)

    async def verify(self, verifier: Verifier | None) -> Verification:
        """Have every kept picture judged, one after the other; none without a verifier."""
        verdicts: Counter[str] = Counter()
        disproved = 0
        if verifier is not None:
            for content in self._kept:
                verdict = await verifier.verdict(content)
                verdicts[verdict] += 1
                disproved += verdict != PROVEN and has_credentials(content)
        return Verification(
            self._pictures,
            self._without_credentials,
            verdicts.total(),
            dict(verdicts),
            self._without_credentials + disproved,
        )


def has_credentials(content: bytes) -> bool:
    """Return whether a file holds a C2PA store; whether that is intact is another question."""
    return _STORE_BOX in content and _STORE_LABEL in content
