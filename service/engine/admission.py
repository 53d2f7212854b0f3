"""The bounded queue before the engine: what waits, who is next, what is refused (stop 4)."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

from service.errors import Draining, QueueFull

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.engine.request_state import Job


class AdmissionQueue:
    """First in, first out, bounded in images. Thread-safe.

    Images of one job are taken one by one, so a job of ten images starts with whatever room there
    is. The head is never overtaken: that keeps large pictures from starving behind small ones.
    """

    def __init__(self, max_images: int) -> None:
        self._max_images = max_images
        self._waiting: deque[tuple[Job, int]] = deque()  # (job, next image index)
        self._depth = 0
        self._is_closed = False
        self._changed = threading.Condition()

    @property
    def depth(self) -> int:
        """Return the number of images waiting."""
        return self._depth

    def put(self, job: Job, retry_after_s: float) -> None:
        """Append all images of `job` and wake the engine.

        Raises QueueFull or Draining, and then nothing was queued. A request larger than the whole
        queue is taken when the queue is empty: refusing it forever would help nobody.
        """
        wanted = job.request.num_images
        with self._changed:
            if self._is_closed:
                raise Draining("The server is shutting down.", retry_after_s=retry_after_s)
            if self._depth and self._depth + wanted > self._max_images:
                raise QueueFull(
                    f"{self._depth} images are waiting; try again later.",
                    retry_after_s=retry_after_s,
                )
            self._waiting.append((job, 0))
            self._depth += wanted
            self._changed.notify()

    def head(self) -> Job | None:
        """Return the job whose image is next, without taking it."""
        with self._changed:
            return self._waiting[0][0] if self._waiting else None

    def take(self) -> tuple[Job, int]:
        """Remove and return the next image as (job, image index). Raises IndexError if empty."""
        with self._changed:
            job, image_index = self._waiting[0]
            self._depth -= 1
            if image_index + 1 < job.request.num_images:
                self._waiting[0] = (job, image_index + 1)
            else:
                self._waiting.popleft()
            return job, image_index

    def remove_where(self, should_leave: Callable[[Job], bool]) -> list[Job]:
        """Remove every job that `should_leave`, and return them in order."""
        with self._changed:
            leaving = [job for job, _ in self._waiting if should_leave(job)]
            if leaving:
                kept = [(job, index) for job, index in self._waiting if job not in leaving]
                self._waiting = deque(kept)
                self._depth = sum(job.request.num_images - index for job, index in kept)
            return leaving

    def images_ahead_of(self, job: Job) -> int:
        """Return how many waiting images come before the first waiting one of `job`; 0 if none."""
        with self._changed:
            ahead = 0
            for other, image_index in self._waiting:
                if other is job:
                    return ahead
                ahead += other.request.num_images - image_index
            return 0

    def waiting(self) -> list[tuple[Job, int]]:
        """Return the waiting jobs in order, each with how many of its images wait."""
        with self._changed:
            return [(job, job.request.num_images - index) for job, index in self._waiting]

    def wake(self) -> None:
        """Wake the engine thread, e.g. because a job was cancelled."""
        with self._changed:
            self._changed.notify()

    def wait(self, timeout_s: float | None) -> None:
        """Block until something was put or `wake` is called, or the time is over.

        Returns at once when images are waiting or the queue is closed.
        """
        with self._changed:
            if not self._waiting and not self._is_closed:
                self._changed.wait(timeout_s)

    def close(self) -> None:
        """Refuse everything from now on; what is queued stays."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
