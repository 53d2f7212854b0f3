"""Marks, encodes, signs, checks and records one picture, or fails (stop 9)."""

from __future__ import annotations

import hashlib
import logging
import secrets
import time
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

import numpy as np

from service.domain.identity import new_output_id
from service.domain.result import SignedImage
from service.errors import LedgerFailed, SigningFailed
from service.provenance.closed_loop import ClosedLoop, MarkedFile, decoded_like
from service.provenance.interface import GenerationFacts
from service.provenance.ledger import OutputRecord, WatermarkIdTaken

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from service.domain.identity import OutputId, RequestId
    from service.domain.request import Original, OutputOptions
    from service.domain.result import DecodedImage, Pixels
    from service.provenance.closed_loop import MarkMargin
    from service.provenance.interface import SignedContent, Signer, Watermarker
    from service.provenance.ledger import OutputKind

MARKING_STAGES = ("watermark", "encode", "sign", "ledger")

_MAX_ID_DRAWS = 3  # with a million outputs, two draws in a row collide once in 20 million

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class MarkingRequest:
    """What the marks say about a picture besides the picture itself.

    `originals`: the pictures it was made from, the edited one first; none if it was made from text.
    `is_preview`: it is not finished.
    """

    request_id: RequestId
    model_id: str
    model_revision: str
    output: OutputOptions
    originals: tuple[Original, ...] = ()
    is_preview: bool = False


@dataclass(frozen=True, slots=True)
class MarkingSources:
    """Where marking takes time and randomness from. Tests replace them.

    `now`: aware, UTC. `draw_bits`: an unpredictable integer of so many bits; predictable watermark
    ids would let a stranger mark pictures as ours before we make them.
    """

    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    draw_bits: Callable[[int], int] = secrets.randbits
    new_output_id: Callable[[], OutputId] = new_output_id


class Recorder(Protocol):
    """Keeps a record of every picture; `service.provenance.ledger.Ledger` is the real one."""

    def record(self, output: OutputRecord) -> None:
        """Append one output; once returned, it survives a crash of this process.

        Raises WatermarkIdTaken or LedgerFailed. Blocking, thread-safe.
        """


class MarkingPipeline:
    """The one way out for pictures. Synchronous and thread-safe.

    Fails closed by construction: `SignedImage` is built in one place, from content that carries
    the mark, whose signature has been read back and whose record is committed.

    `observe_stage` is told the seconds each of MARKING_STAGES took for a picture, "watermark"
    and "encode" including the reading back; it must neither block nor raise.
    """

    def __init__(
        self,
        watermarker: Watermarker,
        signer: Signer,
        ledger: Recorder,
        observe_stage: Callable[[str, float], None] | None = None,
        sources: MarkingSources | None = None,
        margin: MarkMargin | None = None,
    ) -> None:
        self._watermarker = watermarker
        self._signer = signer
        self._ledger = ledger
        self._observe_stage = observe_stage
        self._sources = sources or MarkingSources()
        self._closed_loop = ClosedLoop(watermarker, margin)

    def mark(self, image: DecodedImage, request: MarkingRequest) -> SignedImage:
        """Return the picture watermarked, encoded, signed and recorded.

        Raises WatermarkFailed, EncodingFailed, SigningFailed or LedgerFailed; then nothing of the
        picture is returned.
        """
        for _ in range(_MAX_ID_DRAWS):
            try:
                return self._mark_once(image, request)
            except WatermarkIdTaken:
                logger.info("a watermark id was taken; drawing another")
        raise LedgerFailed("No free watermark id was found.")

    def _mark_once(self, image: DecodedImage, request: MarkingRequest) -> SignedImage:
        height_px, width_px, _ = image.pixels.shape
        bits = self._watermarker.id_bits(width_px, height_px)
        watermark_id = self._sources.draw_bits(bits)
        marked = self._watermarked(image.pixels, watermark_id, request)
        facts = GenerationFacts(
            output_id=self._sources.new_output_id(),
            model_id=request.model_id,
            model_revision=request.model_revision,
            created_at=self._sources.now(),
            watermark_id=watermark_id,
            watermark_profile=marked.reading.profile,
            originals=request.originals,
            is_preview=request.is_preview,
        )
        with self._timed("sign"):
            signed = self._signer.sign(marked.content, request.output.format, facts)
            self._check_same_pixels(signed, marked)
        finished = SignedImage(
            output_id=facts.output_id,
            content=signed.content,
            format=request.output.format,
            width_px=width_px,
            height_px=height_px,
            seed=image.seed,
            pixels_sha256=image.pixels_sha256,
            content_sha256=hashlib.sha256(signed.content).hexdigest(),
            watermark_id=watermark_id,
            watermark_profile=facts.watermark_profile,
            manifest_id=signed.manifest_id,
            created_at=facts.created_at,
        )
        with self._timed("ledger"):
            self._ledger.record(_record(finished, request))
        return finished

    def _watermarked(
        self, pixels: Pixels, watermark_id: int, request: MarkingRequest
    ) -> MarkedFile:
        # Both stages are observed once a picture, whatever the number of rounds.
        spent_s = {"watermark": 0.0, "encode": 0.0}
        try:
            return self._closed_loop.mark(
                pixels,
                watermark_id,
                request.output,
                spent_s,
                is_altered=bool(request.originals),
            )
        finally:
            for stage, seconds in spent_s.items():
                self._observe(stage, seconds)

    def _check_same_pixels(self, signed: SignedContent, marked: MarkedFile) -> None:
        # What is handed out is what was checked: then the mark need not be looked for again.
        decoded = decoded_like(signed.content, marked.decoded, SigningFailed)
        if not np.array_equal(decoded, marked.decoded):
            raise SigningFailed("Signing changed the picture.")

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        start_s = time.perf_counter()
        try:
            yield
        finally:
            self._observe(stage, time.perf_counter() - start_s)

    def _observe(self, stage: str, seconds: float) -> None:
        if self._observe_stage is not None:
            self._observe_stage(stage, seconds)


def _record(image: SignedImage, request: MarkingRequest) -> OutputRecord:
    return OutputRecord(
        output_id=image.output_id,
        request_id=request.request_id,
        watermark_id=image.watermark_id,
        watermark_profile=image.watermark_profile,
        manifest_id=image.manifest_id,
        content_sha256=image.content_sha256,
        pixels_sha256=image.pixels_sha256,
        mime_type=image.format.mime_type,
        width_px=image.width_px,
        height_px=image.height_px,
        size_bytes=len(image.content),
        model_id=request.model_id,
        model_revision=request.model_revision,
        kind=_kind(request),
        seed=image.seed,
        created_at=image.created_at,
    )


def _kind(request: MarkingRequest) -> OutputKind:
    if request.is_preview:
        return "preview"
    return "altered" if request.originals else "created"
