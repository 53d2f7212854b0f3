"""Looks at every picture that left, in this process and not in the server under test."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.database.options import LedgerOptions
from service.errors import ServiceError
from service.provenance.decode import DecodeLimits
from service.provenance.ledger import Ledger
from service.provenance.report import CredentialState
from service.provenance.verify import VerificationTrust, Verifier
from service.provenance.watermark import SpreadSpectrumWatermarker

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from service.provenance.report import VerificationReport

_LIMITS = DecodeLimits(max_bytes=2**25, max_pixels=2**22)
_THREADS = 2


@dataclass(frozen=True, slots=True)
class Proofs:
    """What all pictures of a scenario carry.

    `unsigned`: without intact credentials of the trusted key. `unmarked`: without a watermark that
    reads. `unrecorded`: their manifest is not in the ledger; 0 if none was asked.
    """

    pictures: int
    unsigned: int
    unmarked: int
    unrecorded: int

    def __add__(self, other: Proofs) -> Proofs:
        """Return both taken together."""
        return Proofs(
            self.pictures + other.pictures,
            self.unsigned + other.unsigned,
            self.unmarked + other.unmarked,
            self.unrecorded + other.unrecorded,
        )


def prove(
    pictures: Sequence[bytes],
    anchors_pem: str,
    state_dir: Path | None,
    ledger: LedgerOptions | None = None,
) -> Proofs:
    """Read credentials and watermark of every picture, without the server.

    state_dir: where the ledger is, if it must know them all; None asks no ledger.
    """
    with ExitStack() as stack:
        opened = None
        if state_dir is not None:
            opened = Ledger.open(ledger or LedgerOptions(), state_dir)
            stack.callback(opened.close)
        trust = VerificationTrust(anchors_pem)
        verifier = Verifier(trust, SpreadSpectrumWatermarker(), opened, _LIMITS)
        stack.callback(verifier.close)
        pool = stack.enter_context(ThreadPoolExecutor(_THREADS))
        seen = list(pool.map(lambda content: _look(verifier, opened, content), pictures))
    return Proofs(
        len(seen),
        sum(not is_signed for is_signed, _, _ in seen),
        sum(not is_marked for _, is_marked, _ in seen),
        sum(not is_recorded for _, _, is_recorded in seen),
    )


def _look(verifier: Verifier, ledger: Ledger | None, content: bytes) -> tuple[bool, bool, bool]:
    """Return whether a picture is signed, marked, and recorded as far as that is asked."""
    try:
        report = verifier.verify(content)
    except ServiceError:  # no picture at all
        return False, False, False
    is_signed = report.c2pa.state is CredentialState.TRUSTED
    return is_signed, report.watermark.present, ledger is None or _is_recorded(ledger, report)


def _is_recorded(ledger: Ledger, report: VerificationReport) -> bool:
    manifest_id = report.c2pa.manifest_id
    return manifest_id is not None and ledger.find_by_manifest(manifest_id) is not None
