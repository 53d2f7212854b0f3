"""What verifying a picture found out, in the shape that both transports answer with."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Verdict(StrEnum):
    """What the evidence taken together says about where the picture comes from."""

    BY_US = "ai_generated_by_us"
    BY_US_ALTERED = "ai_generated_by_us_altered"
    BY_OTHERS = "ai_generated_other"
    INVALID_CREDENTIALS = "invalid_credentials"
    NO_EVIDENCE = "no_evidence"


class Confidence(StrEnum):
    """How far the verdict may be relied on. Proof is cryptographic; strong and weak are not."""

    PROOF = "proof"
    STRONG = "strong"
    WEAK = "weak"
    NONE = "none"


class CredentialState(StrEnum):
    """The C2PA validation state. `Valid` is intact, but signed by somebody we do not trust."""

    TRUSTED = "Trusted"
    VALID = "Valid"
    INVALID = "Invalid"
    ABSENT = "Absent"


@dataclass(frozen=True, slots=True)
class IngredientReport:
    """A picture that this one was made from, and whether its own credentials hold."""

    relationship: str | None
    state: CredentialState
    failures: tuple[str, ...]
    manifest_id: str | None


@dataclass(frozen=True, slots=True)
class GenerationClaim:
    """What our own assertion in the manifest says. Worth as much as the manifest's state.

    `preview`: true for a picture that shows an unfinished one.
    """

    provider: str | None = None
    system: str | None = None
    system_version: str | None = None
    model: str | None = None
    model_revision: str | None = None
    created_or_altered: str | None = None
    output_id: str | None = None
    time: str | None = None
    preview: bool | None = None


@dataclass(frozen=True, slots=True)
class CredentialReport:
    """The C2PA layer.

    `issuer`: the organisation (O) in the signing certificate. `time`: ISO 8601; a time stamp if
    `has_trusted_time`, else what the signer claims. `failures`: C2PA status codes, or "unreadable".
    `generation`: present if the manifest holds our own assertion, whoever signed it.
    """

    state: CredentialState
    present: bool
    issuer: str | None = None
    time: str | None = None
    has_trusted_time: bool = False
    failures: tuple[str, ...] = ()
    digital_source_type: str | None = None
    actions: tuple[str, ...] = ()
    ingredients: tuple[IngredientReport, ...] = ()
    manifest_id: str | None = None
    output_id: str | None = None
    generation: GenerationClaim | None = None


@dataclass(frozen=True, slots=True)
class WatermarkPose:
    """How the picture lies relative to the one that was marked."""

    rotation_degrees: int
    is_mirrored: bool
    scale: float


@dataclass(frozen=True, slots=True)
class WatermarkReport:
    """The watermark layer.

    `id`: hexadecimal. `is_weak`: a hint that needs another source. `check`: "passed" if the check
    bits agree, "not_found" without a mark, "not_read" if the pixels could not be decoded.
    `false_positive_rate`: probability that an unmarked picture reads as marked. `registered`: is
    the id in our ledger; None if there was no ledger to ask. `output_id`: the one output with it.
    """

    present: bool
    check: str
    profile: str | None = None
    id: str | None = None
    is_weak: bool | None = None
    pose: WatermarkPose | None = None
    score: float | None = None
    false_positive_rate: float | None = None
    registered: bool | None = None
    output_id: str | None = None


@dataclass(frozen=True, slots=True)
class VerificationReport:
    """The verdict, what it rests on, and what a reader should know about it."""

    verdict: Verdict
    confidence: Confidence
    c2pa: CredentialReport
    watermark: WatermarkReport
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the report as JSON-serialisable values, keys as the fields are called."""
        return asdict(self)
