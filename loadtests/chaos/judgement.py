"""What a scenario is held to, as plain functions of what was seen."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from loadtests.harness.request import Kind
from service import errors

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from loadtests.chaos.proof import Proofs
    from loadtests.harness.open_loop import Sample

# How a connection ends whose other end is gone.
BROKEN = frozenset({"connection_failed", "connection_lost", "grpc_unavailable"})
# A death is noticed a little late, and a client learns of it a little later.
_OUTAGE_SLACK_S = 1.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One promise: whether it was kept, and in which figures that shows."""

    check: str
    is_kept: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Outage:
    """From a process's death until its successor was ready; seconds of the traffic's clock."""

    from_s: float
    until_s: float

    def touches(self, sample: Sample) -> bool:
        """Return whether a request was under way during it."""
        return (
            sample.sent_s <= self.until_s + _OUTAGE_SLACK_S
            and sample.done_s >= self.from_s - _OUTAGE_SLACK_S
        )


def typed_codes() -> frozenset[str]:
    """Return every code that the service may answer with."""
    kinds = [errors.ServiceError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    return frozenset(kind.code for kind in kinds)


def judge_marks(proofs: Proofs) -> Finding:
    """Every picture that any client got is signed, marked, and in the ledger if there is one."""
    is_kept = proofs.pictures > 0 and not (proofs.unsigned or proofs.unmarked or proofs.unrecorded)
    return Finding(
        "no picture without its marks",
        is_kept,
        f"{proofs.pictures} pictures: {proofs.unsigned} unsigned, {proofs.unmarked} without "
        f"watermark, {proofs.unrecorded} not recorded",
    )


def judge_answers(samples: Sequence[Sample], outages: Sequence[Outage]) -> Finding:
    """Every request was answered in full or refused by name; only a death breaks connections."""
    lost = Counter(
        sample.code or "no code" for sample in samples if not _is_answered(sample, outages)
    )
    detail = f"{len(samples)} requests, {lost.total()} lost"
    if lost:
        detail += f": {_listed(lost)}"
    return Finding("no request lost without a typed error", bool(samples) and not lost, detail)


def judge_pixels(before: str, after: str) -> Finding:
    """The same request draws the same pixels as before."""
    return Finding("the same pixels afterwards", before == after, f"{before[:12]} {after[:12]}")


def judge_recovery(recovered_s: float | None, at_most_s: float) -> Finding:
    """A picture that was asked for after the fault came, and soon enough."""
    is_kept = recovered_s is not None and recovered_s <= at_most_s
    took = "never" if recovered_s is None else f"after {recovered_s:.1f} s"
    return Finding("serves again", is_kept, f"{took}, at most {at_most_s:g} s")


def judge_felt(samples: Iterable[Sample], codes: frozenset[str], what: str) -> Finding:
    """The fault had an effect; one that nobody feels proves nothing."""
    felt = Counter(sample.code for sample in samples if sample.code in codes)
    return Finding(f"the fault was felt: {what}", bool(felt), _listed(felt) or "no such answer")


def recovery_s(samples: Iterable[Sample], from_s: float) -> float | None:
    """Return the seconds from a moment to the first success asked for after it, or None."""
    ends = [
        sample.done_s for sample in samples if sample.kind is Kind.DONE and sample.sent_s >= from_s
    ]
    return min(ends) - from_s if ends else None


def _is_answered(sample: Sample, outages: Sequence[Outage]) -> bool:
    if sample.kind is Kind.DONE:
        return True
    if sample.kind in {Kind.LEFT, Kind.OVERFLOW}:  # the client's own doing
        return True
    if sample.code in BROKEN:
        return any(outage.touches(sample) for outage in outages)
    return sample.kind is not Kind.TIMED_OUT and sample.code in typed_codes()


def _listed(codes: Counter[str]) -> str:
    return ", ".join(f"{count} {code}" for code, count in codes.most_common())
