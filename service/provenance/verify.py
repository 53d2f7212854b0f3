"""Says where a picture comes from, by everything it still carries, without asking anyone."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.errors import InvalidRequest
from service.provenance.credentials import CredentialReader
from service.provenance.decode import DecodeLimits, decode_pixels, picture_format
from service.provenance.manifest import format_watermark_id
from service.provenance.report import (
    CredentialReport,
    CredentialState,
    VerificationReport,
    WatermarkPose,
    WatermarkReport,
)
from service.provenance.verdict import Evidence, judge

if TYPE_CHECKING:
    from service.provenance.interface import Watermarker, WatermarkReading
    from service.provenance.keys import SigningMaterial
    from service.provenance.ledger import Ledger, OutputRecord

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class VerificationTrust:
    """Whom to believe. `anchors_pem`: trusted roots.

    `organisation`: by which name (O) our own signing certificate is known. None accepts whoever
    the anchors vouch for, which is right only if they are ours alone, as those we serve are.
    """

    anchors_pem: str
    organisation: str | None = None

    @classmethod
    def of(cls, material: SigningMaterial) -> VerificationTrust:
        """Return the trust that fits the signing key in use."""
        return cls(material.anchors_pem, material.organisation)


class Verifier:
    """Reads credentials and watermark of a picture and weighs them. Thread-safe.

    `ledger` may be None, as on a caller's own machine: a watermark is then only a hint.
    Opens no network connection. Must be made in the process that uses it.
    """

    def __init__(
        self,
        trust: VerificationTrust,
        watermarker: Watermarker,
        ledger: Ledger | None,
        limits: DecodeLimits,
    ) -> None:
        self._trust = trust
        self._watermarker = watermarker
        self._ledger = ledger
        self._limits = limits
        self._credentials = CredentialReader(trust.anchors_pem)

    def verify(self, content: bytes) -> VerificationReport:
        """Return what `content`, a PNG, JPEG or WebP file from anywhere, gives away.

        Raises PayloadTooLarge beyond the limits and InvalidRequest for what is no such picture,
        both with param "image"; LedgerFailed if the ledger does not answer.
        """
        credentials = self._credentials.read(content, picture_format(content, self._limits))
        watermark, marked_outputs = self._read_watermark(content, credentials)
        evidence = Evidence(
            credentials=credentials,
            watermark=watermark,
            marked_outputs=marked_outputs,
            signed_output=self._find_signed(credentials),
            signed_parents=self._find_parents(credentials),
            content_sha256=hashlib.sha256(content).hexdigest(),
            our_organisation=self._trust.organisation,
        )
        verdict, confidence, notes = judge(evidence)
        return VerificationReport(verdict, confidence, credentials, watermark, notes)

    def close(self) -> None:
        """Free the C2PA library's context. The ledger belongs to whoever opened it."""
        self._credentials.close()

    def _read_watermark(
        self, content: bytes, credentials: CredentialReport
    ) -> tuple[WatermarkReport, tuple[OutputRecord, ...]]:
        try:
            pixels = decode_pixels(content, self._limits)
        except InvalidRequest:
            if not credentials.present:
                raise
            # A changed byte may leave credentials readable and pixels not: that is a finding.
            return WatermarkReport(present=False, check="not_read"), ()
        reading = self._watermarker.detect(pixels)
        if reading is None:
            return WatermarkReport(present=False, check="not_found"), ()
        outputs = self._find_marked(reading)
        return _watermark_report(reading, outputs), outputs or ()

    def _find_marked(self, reading: WatermarkReading) -> tuple[OutputRecord, ...] | None:
        if self._ledger is None:
            return None
        return self._ledger.find_by_watermark(reading.watermark_id, reading.profile)

    def _find_signed(self, credentials: CredentialReport) -> OutputRecord | None:
        if self._ledger is None or credentials.manifest_id is None:
            return None
        return self._ledger.find_by_manifest(credentials.manifest_id)

    def _find_parents(self, credentials: CredentialReport) -> tuple[OutputRecord, ...]:
        if self._ledger is None:
            return ()
        found = [
            self._ledger.find_by_manifest(ingredient.manifest_id)
            for ingredient in credentials.ingredients
            if ingredient.manifest_id is not None and ingredient.state is CredentialState.TRUSTED
        ]
        return tuple(output for output in found if output is not None)


def _watermark_report(
    reading: WatermarkReading, outputs: tuple[OutputRecord, ...] | None
) -> WatermarkReport:
    return WatermarkReport(
        present=True,
        check="passed",
        profile=reading.profile,
        id=format_watermark_id(reading.watermark_id),
        is_weak=reading.is_weak,
        pose=WatermarkPose(reading.rotation_degrees, reading.is_mirrored, reading.scale),
        score=reading.score,
        false_positive_rate=reading.false_positive_rate,
        registered=None if outputs is None else bool(outputs),
        output_id=outputs[0].output_id if outputs and len(outputs) == 1 else None,
    )
