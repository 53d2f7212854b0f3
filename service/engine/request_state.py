"""The engine's own view of a request: one job, one state per image (stop 5)."""

from __future__ import annotations

from contextvars import Context, copy_context
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from service.domain.progress import Phase, Progress
from service.domain.times import ImageTimes, RequestTimes
from service.engine.previews import preview_steps

if TYPE_CHECKING:
    from models.schedules.solvers import SolverTable
    from service.domain.events import Outcome
    from service.domain.identity import Deadline, RequestId
    from service.domain.request import GenerationRequest
    from service.domain.result import DecodedImage
    from service.engine.editing import EncodedSource
    from service.errors import ServiceError


class BatchKey(NamedTuple):
    """What must agree for two images to share a denoiser call, and nothing more.

    Scheduler, step count, guidance, seed and prompt are per-row values, never part of the key.
    """

    model_id: str
    latent_shape: tuple[int, int, int]

    def __str__(self) -> str:
        """Return a short label for metrics, e.g. `mintmark-emoji-64/4x16x16`."""
        return f"{self.model_id}/{'x'.join(map(str, self.latent_shape))}"


class JobSink(Protocol):
    """Where the results of a job go. Called on the engine thread; must not block or raise.

    `resolve` or `reject` is called once, after everything else.
    """

    def progressed(self, steps_done: int, steps_total: int) -> None:
        """Take note that some of its images took a step; both count over all images."""

    def preview(self, image_index: int, partial_index: int, image: DecodedImage) -> None:
        """Hand over what an image looks like by now."""

    def finished(self, image_index: int, image: DecodedImage) -> None:
        """Hand over one finished image; every image of the request, before `resolve`."""

    def resolve(self) -> None:
        """Say that all images have been handed over."""

    def reject(self, error: ServiceError) -> None:
        """Say why there will be no more of them."""


@dataclass(slots=True, eq=False)
class Job:
    """One submitted request. Only the engine thread changes it, its cancelling excepted.

    `table`: the steps it takes (`editing.solver_table`). `source`: the latents it starts from, from
    the admission of its first image on, if it is an edit. `context`: that of whoever submitted it,
    so that the engine's log lines about it say whose they are.
    """

    request_id: RequestId
    request: GenerationRequest
    key: BatchKey
    table: SolverTable
    deadline: Deadline
    sink: JobSink
    submitted_at_s: float
    context: Context = field(default_factory=copy_context)
    times: RequestTimes = field(init=False)
    images_left: int = field(init=False)
    preview_steps: tuple[int, ...] = field(init=False)
    source: EncodedSource | None = None
    cancel_requested: bool = False
    cancelled_at_s: float | None = None
    admitted_at_s: float | None = None
    outcome: Outcome | None = None
    steps_done: int = 0

    def __post_init__(self) -> None:
        """Derive what is left to do and when to show it."""
        shape = "x".join(map(str, self.key.latent_shape))
        self.times = RequestTimes(
            self.submitted_at_s, self.request.num_images, self.table.num_steps, shape
        )
        self.images_left = self.request.num_images
        self.preview_steps = preview_steps(self.table.num_steps, self.request.num_previews)

    @property
    def is_guided(self) -> bool:
        """Tell whether classifier-free guidance applies (diffusers: above 1)."""
        return self.request.sampling.guidance_scale > 1

    @property
    def rows_per_image(self) -> int:
        """Return 2 with guidance, which adds an unconditional row; else 1."""
        return 2 if self.is_guided else 1

    @property
    def steps_total(self) -> int:
        """Return the denoising steps of all its images together."""
        return self.table.num_steps * self.request.num_images

    def progress(self, queue_position: int) -> Progress:
        """Return a snapshot for a caller who asks while the job is in the engine."""
        phase = Phase.QUEUED if self.admitted_at_s is None else Phase.RUNNING
        if self.outcome is not None:
            phase = Phase(self.outcome.value)
        return Progress(phase, self.steps_done, self.steps_total, queue_position)


@dataclass(slots=True, eq=False)
class ImageState:
    """One image while it is being denoised; its latents live in slot `slot` of its key's table.

    `prompt_embeds`, `negative_embeds`: native arrays (1, T, D); the latter None without guidance.
    `noise`: what it started from, (1, C, h, w), if part of a picture is kept; else None.
    """

    job: Job
    image_index: int
    slot: int
    prompt_embeds: Any
    negative_embeds: Any | None
    noise: Any | None = None
    step_index: int = 0

    @property
    def seed(self) -> int:
        """Return the seed of this one image."""
        return self.job.request.sampling.seed + self.image_index

    @property
    def times(self) -> ImageTimes:
        """Return where it is noted when it passes each stop."""
        return self.job.times.images[self.image_index]

    @property
    def source(self) -> EncodedSource | None:
        """Return the latents of the picture it starts from, if there is one."""
        return self.job.source

    @property
    def key(self) -> BatchKey:
        """Return what it may share a call with."""
        return self.job.key

    @property
    def rows(self) -> int:
        """Return the rows it takes in a denoiser call."""
        return self.job.rows_per_image

    @property
    def is_denoised(self) -> bool:
        """Tell whether every step has been taken."""
        return self.step_index >= self.job.table.num_steps
