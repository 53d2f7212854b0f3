"""Small real stand-ins for the parts that are slow, random or far away."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np

from service.domain.identity import Deadline, OutputId, RequestId
from service.domain.progress import Phase, Progress
from service.domain.request import GenerationRequest
from service.domain.result import GenerationResult, Pixels, RequestEnergy, SignedImage
from service.domain.stream import (
    Accepted,
    Completed,
    FinishedImage,
    PartialImage,
    StepsTaken,
    StreamEvent,
)
from service.errors import ModelNotReady, ServiceError
from service.provenance.interface import SignedContent, WatermarkReading
from service.provenance.report import (
    Confidence,
    CredentialReport,
    CredentialState,
    Verdict,
    VerificationReport,
    WatermarkReport,
)

# --- provenance -----------------------------------------------------------------------------------

_BLOCK_PX = 8
_MAGIC = 0b1010_0110_0101_1100
_MAGIC_BITS = 16


@dataclass(frozen=True)
class FakeWatermarker:
    """Writes the id as plainly visible 8 px blocks, which any encoder keeps. From 64 px on.

    Embedding below `needed_strength` leaves nothing that can be read.
    """

    profile: str = "sst64"
    bits: int = 32
    is_weak: bool = False
    max_strength: int = 2
    needed_strength: int = 0

    def id_bits(self, width_px: int, height_px: int) -> int:
        return self.bits

    def embed(
        self, pixels: Pixels, watermark_id: int, *, is_altered: bool = False, strength: int = 0
    ) -> Pixels:
        count = self.bits + _MAGIC_BITS
        height_px, width_px, _ = pixels.shape
        if (height_px // _BLOCK_PX) * (width_px // _BLOCK_PX) < count:
            raise ValueError("picture too small")
        marked = pixels.copy()
        if strength < self.needed_strength:
            return marked
        payload = (watermark_id << _MAGIC_BITS) | _MAGIC
        for index in range(count):
            marked[self._block(index, width_px)] = 224 if payload >> index & 1 else 32
        return marked

    def detect(self, pixels: Pixels) -> WatermarkReading | None:
        count = self.bits + _MAGIC_BITS
        height_px, width_px, _ = pixels.shape
        if (height_px // _BLOCK_PX) * (width_px // _BLOCK_PX) < count:
            return None
        payload = 0
        for index in range(count):
            payload |= int(pixels[self._block(index, width_px)].mean() > 128) << index
        if payload & ((1 << _MAGIC_BITS) - 1) != _MAGIC:
            return None
        return WatermarkReading(
            watermark_id=payload >> _MAGIC_BITS,
            is_altered=False,
            profile=self.profile,
            is_weak=self.is_weak,
            false_positive_rate=2.0**-_MAGIC_BITS,
            rotation_degrees=0,
            is_mirrored=False,
            scale=1.0,
            score=10.0,
        )

    @staticmethod
    def _block(index: int, width_px: int) -> tuple[slice, slice]:
        row, column = divmod(index, width_px // _BLOCK_PX)
        return (
            slice(row * _BLOCK_PX, (row + 1) * _BLOCK_PX),
            slice(column * _BLOCK_PX, (column + 1) * _BLOCK_PX),
        )


@dataclass(frozen=True)
class BlindWatermarker(FakeWatermarker):
    """Embeds, and then never finds anything: a mark that no encoding survives."""

    def detect(self, pixels: Pixels) -> WatermarkReading | None:
        return None


@dataclass(frozen=True)
class MisreadingWatermarker(FakeWatermarker):
    """Finds a mark, but not the one that was written."""

    def detect(self, pixels: Pixels) -> WatermarkReading | None:
        reading = super().detect(pixels)
        return reading and replace(reading, watermark_id=reading.watermark_id ^ 1)


class FakeSigner:
    """Appends a line that names the output, which every decoder ignores. Signs nothing."""

    def sign(self, content, fmt, facts):
        manifest_id = f"urn:c2pa:{facts.output_id}"
        return SignedContent(content + manifest_id.encode(), manifest_id)


@dataclass(frozen=True)
class FailingSigner:
    """Raises instead of signing."""

    error: Exception

    def sign(self, content, fmt, facts):
        raise self.error


@dataclass(frozen=True)
class TamperingSigner:
    """Hands back another picture than it was given."""

    instead: bytes

    def sign(self, content, fmt, facts):
        return SignedContent(self.instead, f"urn:c2pa:{facts.output_id}")


def flat_pixels(width_px: int = 96, height_px: int = 96, value: int = 120):
    """Return a grey picture with a soft ramp, so that rows and columns can be told apart."""
    ramp = np.linspace(0, 40, width_px, dtype=np.uint8)[np.newaxis, :, np.newaxis]
    tint = np.array([0, 20, 40], np.uint8)
    return np.broadcast_to(value + ramp + tint, (height_px, width_px, 3)).astype(np.uint8)


# --- transports -----------------------------------------------------------------------------------


class FakeGeneration:
    """Answers every request at once with `content` for each picture, or raises `error`.

    `warnings`: what the answers say will not be drawn; `energy`: what drawing took. `hold`: while
    set, calls wait, as for a busy engine, until cancelled or released. `late_error`: what a stream
    ends with after the first image's previews.
    """

    def __init__(self, content: bytes = b"\x89PNG fake", error: Exception | None = None) -> None:
        self.content = content
        self.error = error
        self.late_error: Exception | None = None
        self.warnings: tuple[str, ...] = ()
        self.energy: RequestEnergy | None = None
        self.hold: asyncio.Event | None = None
        self.started = asyncio.Event()
        self.requests: list[GenerationRequest] = []
        self.request_ids: list[RequestId] = []
        self.deadlines: list[Deadline] = []
        self.cancelled: list[RequestId] = []

    async def __call__(
        self, request: GenerationRequest, *, request_id: RequestId, deadline: Deadline
    ) -> GenerationResult:
        self._begin(request, request_id, deadline)
        try:
            if self.hold is not None:
                await self.hold.wait()
        except asyncio.CancelledError:
            self.cancelled.append(request_id)
            raise
        return self._result(request, request_id)

    async def stream(
        self, request: GenerationRequest, *, request_id: RequestId, deadline: Deadline
    ) -> AsyncGenerator[StreamEvent, None]:
        self._begin(request, request_id, deadline)
        result = self._result(request, request_id)
        try:
            yield Accepted(request_id, queue_position=0, estimated_wait_s=0.5)
            if self.hold is not None:
                await self.hold.wait()
            for index, image in enumerate(result.images):
                yield StepsTaken(2 * (index + 1), 2 * request.num_images)
                for partial_index in range(request.num_previews):
                    yield PartialImage(index, partial_index, image)
                if self.late_error is not None:
                    raise self.late_error
                yield FinishedImage(index, image)
        except (asyncio.CancelledError, GeneratorExit):
            self.cancelled.append(request_id)
            raise
        yield Completed(result)

    def _begin(self, request: GenerationRequest, request_id: RequestId, deadline: Deadline) -> None:
        self.requests.append(request)
        self.request_ids.append(request_id)
        self.deadlines.append(deadline)
        self.started.set()
        if self.error is not None:
            raise self.error

    def _result(self, request: GenerationRequest, request_id: RequestId) -> GenerationResult:
        created_at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
        images = tuple(
            self._image(request, index, created_at) for index in range(request.num_images)
        )
        return GenerationResult(
            request_id,
            request,
            images,
            created_at,
            prompt_tokens=3,
            warnings=self.warnings,
            energy=self.energy,
        )

    def progress(self, request_id: RequestId) -> Progress | None:
        if request_id not in self.request_ids:
            return None
        phase = Phase.CANCELLED if request_id in self.cancelled else Phase.RUNNING
        return Progress(phase, steps_done=2, steps_total=4, queue_position=0)

    def cancel(self, request_id: RequestId) -> bool:
        if request_id in self.cancelled:
            return False
        self.cancelled.append(request_id)
        return True

    def _image(self, request: GenerationRequest, index: int, created_at: datetime) -> SignedImage:
        return SignedImage(
            output_id=OutputId(f"out_{index}"),
            content=self.content,
            format=request.output.format,
            width_px=request.width_px,
            height_px=request.height_px,
            seed=request.sampling.seed + index,
            pixels_sha256="0" * 64,
            content_sha256=hashlib.sha256(self.content).hexdigest(),
            watermark_id=0xABCDE,
            watermark_profile="sst64",
            manifest_id=f"urn:c2pa:{index}",
            created_at=created_at,
        )


class FakeVerifier:
    """Finds no evidence in anything, unless it was told to fail or to wait."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.contents: list[bytes] = []
        self.may_finish = threading.Event()
        self.may_finish.set()
        self.thread_names: list[str] = []

    def verify(self, content: bytes) -> VerificationReport:
        self.contents.append(content)
        self.thread_names.append(threading.current_thread().name)
        assert self.may_finish.wait(10)
        if self.error is not None:
            raise self.error
        return VerificationReport(
            verdict=Verdict.NO_EVIDENCE,
            confidence=Confidence.NONE,
            c2pa=CredentialReport(state=CredentialState.ABSENT, present=False),
            watermark=WatermarkReport(present=False, check="not_found"),
            notes=(),
        )


class FakeReadiness:
    """Says what it was told to say."""

    def __init__(self) -> None:
        self.live = True
        self.ready = True
        self.error: ServiceError = ModelNotReady("The model is loading.", retry_after_s=5.0)

    def is_live(self) -> bool:
        return self.live

    def is_ready(self) -> bool:
        return self.ready

    def refusal(self) -> ServiceError:
        return self.error
