"""When one request passed each stop of the engine, noted while it does (stops 4 to 8)."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True, eq=False)
class ImageTimes:
    """One image; None for what has not happened (yet). Monotonic seconds.

    `encode_started_s` to `encoded_s`: prompt embeddings, the start state, a slot. `stepped_s`: the
    end of its last step so far. `rows_…`: of the denoiser calls it took part in, guidance rows and
    other requests' rows included. `decode_started_s` to `decoded_s`: latents to pixels.
    """

    encode_started_s: float | None = None
    encoded_s: float | None = None
    stepped_s: float | None = None
    steps: int = 0
    rows_min: int = 0
    rows_max: int = 0
    rows_sum: int = 0
    decode_started_s: float | None = None
    decoded_s: float | None = None

    def note_step(self, ended_s: float, rows: int) -> None:
        """Take note of one denoiser call over `rows` rows. Once a step: it must stay cheap."""
        self.stepped_s = ended_s
        self.steps += 1
        self.rows_sum += rows
        self.rows_max = max(self.rows_max, rows)
        self.rows_min = min(self.rows_min or rows, rows)


@dataclass(slots=True, eq=False)
class RequestTimes:
    """One submitted request. Written by the engine thread; a reader elsewhere may be a step behind.

    `steps_per_image`: what each of its images has to take. `shape`: of one image's latents, e.g.
    `4x16x16`.
    """

    submitted_at_s: float
    num_images: int
    steps_per_image: int
    shape: str
    images: tuple[ImageTimes, ...] = field(init=False)

    def __post_init__(self) -> None:
        """Make room for every image."""
        self.images = tuple(ImageTimes() for _ in range(self.num_images))

    @property
    def admitted_at_s(self) -> float | None:
        """Return when the first image left the queue, or None while all wait."""
        started = (image.encode_started_s for image in self.images)
        return min((at_s for at_s in started if at_s is not None), default=None)
