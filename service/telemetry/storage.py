"""A storage for pictures that are answered by link, whose work is counted."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from service.errors import StorageFull
from service.telemetry.metric_table import (
    ADMISSION_REFUSALS,
    STORE_SECONDS,
    STORED_BYTES,
    STORED_PICTURES,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.domain.result import SignedImage
    from service.telemetry.metrics import Metrics

Place_co = TypeVar("Place_co", covariant=True)


class PictureStorage(Protocol[Place_co]):
    """What is counted of a storage; `service.storage.interface.PictureStorage` is one."""

    def refuse_if_full(self) -> None:
        """Raise StorageFull if a request for links should not even begin."""

    def store(self, image: SignedImage, base_url: str) -> Place_co:
        """Keep one picture and return where it is, or raise StorageFailed."""


class CountedStorage(Generic[Place_co]):
    """Passes everything on. `kind`: what the storage is called in labels; `clock`: seconds."""

    def __init__(
        self,
        inner: PictureStorage[Place_co],
        metrics: Metrics,
        kind: str,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._inner = inner
        self._metrics = metrics
        self._kind = kind
        self._clock = clock

    def refuse_if_full(self) -> None:
        """Raise what the inner storage raises, and count it as a refusal."""
        try:
            self._inner.refuse_if_full()
        except StorageFull as error:
            self._metrics.count(ADMISSION_REFUSALS, error.code)
            raise

    def store(self, image: SignedImage, base_url: str) -> Place_co:
        """Store one picture and count how it went. Blocking, thread-safe."""
        started_s, outcome = self._clock(), "failed"
        try:
            place = self._inner.store(image, base_url)
            outcome = "stored"
            self._metrics.count(STORED_BYTES, self._kind, amount=len(image.content))
            return place
        finally:
            self._metrics.observe(STORE_SECONDS, self._clock() - started_s, self._kind)
            self._metrics.count(STORED_PICTURES, self._kind, outcome)
