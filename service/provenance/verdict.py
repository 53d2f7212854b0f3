"""Weighs the evidence found in a picture into one verdict: pure rules, tabled in the docs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.provenance.report import Confidence, CredentialState, Verdict

if TYPE_CHECKING:
    from service.provenance.ledger import OutputRecord
    from service.provenance.report import CredentialReport, WatermarkReport

# IPTC digital source types that mean a generative model drew the picture, or part of it.
_AI_SOURCE_TYPES = (
    "trainedAlgorithmicMedia",
    "compositeWithTrainedAlgorithmicMedia",
)

ABSENCE_NOTE = "Absence of a mark is not evidence that a picture is not AI-generated."


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything known about a picture before it is judged.

    `marked_outputs`: ledger entries with the watermark's id. `signed_output`: the one with the
    manifest's id. `signed_parents`: those of its intact, trusted ingredients.
    `our_organisation`: as in `VerificationTrust`.
    """

    credentials: CredentialReport
    watermark: WatermarkReport
    marked_outputs: tuple[OutputRecord, ...]
    signed_output: OutputRecord | None
    signed_parents: tuple[OutputRecord, ...]
    content_sha256: str
    our_organisation: str | None


def judge(evidence: Evidence) -> tuple[Verdict, Confidence, tuple[str, ...]]:
    """Return the verdict, how sure it is, and notes for a human reader.

    Proof first, then what contradicts it, then hints: an intact signature of ours, or bytes equal
    to those we recorded; broken credentials; our watermark; our picture as a trusted ingredient;
    somebody else's credentials. "By us" never follows from an untrusted signature, nor from trust
    alone: anchors may vouch for others too, so name and assertion must be ours.
    """
    verdict, confidence, notes = _weigh(evidence)
    return verdict, confidence, (*notes, *_remarks(evidence, verdict))


def _weigh(evidence: Evidence) -> tuple[Verdict, Confidence, tuple[str, ...]]:
    credentials = evidence.credentials
    signed = evidence.signed_output
    if signed is not None and signed.content_sha256 == evidence.content_sha256:
        return Verdict.BY_US, Confidence.PROOF, _recorded_notes(credentials)
    if _is_signed_by_us(evidence):
        return Verdict.BY_US, Confidence.PROOF, ()
    if credentials.state is CredentialState.INVALID:
        note = "The file is not as it was signed, or its credentials are damaged or expired."
        return Verdict.INVALID_CREDENTIALS, Confidence.PROOF, (note,)
    watermarked = _weigh_watermark(evidence)
    if watermarked is not None:
        return watermarked
    if credentials.state is CredentialState.TRUSTED and evidence.signed_parents:
        parents = ", ".join(output.output_id for output in evidence.signed_parents)
        note = f"A trusted signer states that it was made from our output {parents}."
        return Verdict.BY_US_ALTERED, Confidence.STRONG, (note,)
    return _weigh_others(credentials)


def _is_signed_by_us(evidence: Evidence) -> bool:
    credentials = evidence.credentials
    if credentials.state is not CredentialState.TRUSTED or credentials.generation is None:
        return False
    ours = evidence.our_organisation
    return ours is None or credentials.issuer == ours


def _weigh_watermark(evidence: Evidence) -> tuple[Verdict, Confidence, tuple[str, ...]] | None:
    watermark = evidence.watermark
    if not watermark.present:
        return None
    if watermark.registered and not watermark.is_weak:
        note = (
            f"The watermark is that of our output {watermark.output_id}. A watermark can be copied "
            "onto another picture, so compare the two before relying on it."
        )
        return Verdict.BY_US_ALTERED, Confidence.STRONG, (note,)
    if watermark.registered:
        note = (
            "A short watermark, of the kind that small pictures carry, matches one or more of our "
            "outputs: a hint, which chance can produce as well."
        )
        return Verdict.BY_US_ALTERED, Confidence.WEAK, (note,)
    if watermark.is_weak:
        return None
    return Verdict.BY_US_ALTERED, Confidence.WEAK, ()


def _weigh_others(
    credentials: CredentialReport,
) -> tuple[Verdict, Confidence, tuple[str, ...]]:
    source_type = (credentials.digital_source_type or "").rpartition("/")[2]
    if source_type in _AI_SOURCE_TYPES:
        if credentials.state is CredentialState.TRUSTED:
            return Verdict.BY_OTHERS, Confidence.STRONG, ()
        return Verdict.BY_OTHERS, Confidence.WEAK, ()
    if credentials.present:
        note = "Its credentials do not say that it is AI-generated."
        return Verdict.NO_EVIDENCE, Confidence.NONE, (note,)
    return Verdict.NO_EVIDENCE, Confidence.NONE, ()


def _recorded_notes(credentials: CredentialReport) -> tuple[str, ...]:
    if credentials.state is CredentialState.TRUSTED:
        return ()
    return (
        "Every byte is as we recorded it, yet its credentials no longer verify: most likely the "
        "signing certificate has expired since, or its root is no longer among the anchors.",
    )


def _remarks(evidence: Evidence, verdict: Verdict) -> list[str]:
    credentials, watermark = evidence.credentials, evidence.watermark
    notes = []
    if credentials.state is CredentialState.VALID:
        notes.append(
            "The credentials are intact but signed by somebody who is not trusted here: anyone can "
            "make such a signature, so they are no proof of what they say."
        )
    if watermark.present and watermark.registered is False:
        notes.append(
            "A watermark of our kind was read whose id is not in this ledger: written by another "
            "server with the same key, lost from the ledger, or read by chance."
        )
    if watermark.present and watermark.registered is None:
        notes.append("There was no ledger to look the watermark up in.")
    if watermark.check == "not_read":
        notes.append("The pixels could not be decoded, so no watermark was looked for.")
    if verdict is Verdict.BY_US and watermark.check == "not_found":
        notes.append("The signature is ours but the watermark was not found.")
    if _is_watermark_of_another(evidence):
        notes.append(
            "The watermark points to another output than the credentials: one of the two was "
            "copied onto this picture."
        )
    if any(item.state is CredentialState.INVALID for item in credentials.ingredients):
        notes.append("A picture it was made from had credentials that do not verify.")
    notes += _origin_notes(evidence, verdict)
    if verdict is Verdict.NO_EVIDENCE:
        notes.append(ABSENCE_NOTE)
    return notes


def _origin_notes(evidence: Evidence, verdict: Verdict) -> list[str]:
    """Say of an output of ours how it came to be, if not from text alone and to its end."""
    if verdict is Verdict.BY_US:
        signed, claim = evidence.signed_output, evidence.credentials.generation
        kinds = set() if signed is None else {signed.kind}
        if claim is not None:
            kinds |= {"altered"} if claim.created_or_altered == "altered" else set()
            kinds |= {"preview"} if claim.preview else set()
    elif verdict is Verdict.BY_US_ALTERED and not evidence.watermark.is_weak:
        kinds = {output.kind for output in evidence.marked_outputs}
    else:
        return []
    notes = []
    if "altered" in kinds:
        notes.append("Our output was made by editing another picture, which its manifest names.")
    if "preview" in kinds:
        notes.append("Our output is a preview: it shows a picture before it was finished.")
    return notes


def _is_watermark_of_another(evidence: Evidence) -> bool:
    claimed = evidence.credentials.output_id
    if claimed is None or not evidence.marked_outputs or evidence.watermark.is_weak:
        return False
    return all(output.output_id != claimed for output in evidence.marked_outputs)
