"""Latents that wait to become pixels: finished images and previews (stop 8)."""

from __future__ import annotations

import hashlib
import logging
from collections import deque
from typing import TYPE_CHECKING

from service.domain.events import Decoded
from service.domain.result import DecodedImage
from service.engine.previews import Preview

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from service.domain.events import Observer
    from service.domain.result import Pixels
    from service.engine.executor import StepExecutor
    from service.engine.request_state import ImageState, Job

logger = logging.getLogger(__name__)


class DecodeQueue:
    """First come, first served. A finished image keeps its slot until it is decoded.

    Previews take part in the order, so that many of them slow admission down instead of piling up.
    """

    def __init__(
        self,
        executors: Mapping[str, StepExecutor],
        observer: Observer,
        clock: Callable[[], float],
    ) -> None:
        self._executors = executors
        self._observer = observer
        self._clock = clock
        self._waiting: deque[ImageState | Preview] = deque()

    def __len__(self) -> int:
        """Return how many pictures wait, previews included."""
        return len(self._waiting)

    @property
    def states(self) -> list[ImageState]:
        """Return the finished images among them."""
        return [item for item in self._waiting if not isinstance(item, Preview)]

    def add(self, picture: ImageState | Preview) -> None:
        """Append one."""
        self._waiting.append(picture)

    def next_job(self) -> Job:
        """Return whose picture is next. Raises IndexError if none is."""
        return _job_of(self._waiting[0])

    def forget(self, job: Job) -> None:
        """Drop every picture of `job` and free its slots."""
        for state in self.states:
            if state.job is job:
                self._executors[state.key.model_id].leave(state)
        self._waiting = deque(item for item in self._waiting if _job_of(item) is not job)

    def decode_next(self) -> None:
        """Decode one picture and hand it to its job's sink.

        A preview that cannot be decoded is dropped. Whatever a finished image's decoder raises goes
        through, and the image stays where it is: then the job has to be ended.
        """
        picture = self._waiting[0]
        if isinstance(picture, Preview):
            self._waiting.popleft()
            self._show(picture)
            return
        executor = self._executors[picture.key.model_id]
        started_s = picture.times.decode_started_s = self._clock()
        pixels = executor.decode(picture)
        self._waiting.popleft()
        executor.leave(picture)
        picture.times.decoded_s = self._clock()
        decode_s = picture.times.decoded_s - started_s
        self._observer.on_event(Decoded(1, decode_s, picture.job.request_id))
        picture.job.images_left -= 1
        picture.job.sink.finished(picture.image_index, _decoded(picture, pixels))

    def _show(self, preview: Preview) -> None:
        state = preview.state
        started_s = self._clock()
        try:
            pixels = self._executors[state.key.model_id].decode_preview(preview)
        except Exception as exc:  # noqa: BLE001 - the tick's boundary: the picture itself goes on
            state.job.context.run(logger.warning, "a preview could not be decoded: %r", exc)
            return
        self._observer.on_event(Decoded(1, self._clock() - started_s, state.job.request_id))
        state.job.sink.preview(state.image_index, preview.partial_index, _decoded(state, pixels))


def _job_of(picture: ImageState | Preview) -> Job:
    return picture.state.job if isinstance(picture, Preview) else picture.job


def _decoded(state: ImageState, pixels: Pixels) -> DecodedImage:
    return DecodedImage(pixels, hashlib.sha256(pixels.tobytes()).hexdigest(), state.seed)
