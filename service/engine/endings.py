"""How a job ends when it does not end well."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from models.errors import ModelOutOfMemory
from service.domain.events import Outcome
from service.errors import Cancelled, DeadlineExceeded, DeviceOutOfMemory, InternalError

if TYPE_CHECKING:
    from service.engine.request_state import Job
    from service.errors import ServiceError

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Ending:
    """What is reported and what the caller is told."""

    outcome: Outcome
    error: ServiceError


def left(job: Job) -> Ending:
    """Return the ending of a job that was cancelled or is past its deadline."""
    if job.cancel_requested:
        return Ending(Outcome.CANCELLED, Cancelled("The request was cancelled."))
    return Ending(
        Outcome.EXPIRED, DeadlineExceeded("The deadline passed before the picture was finished.")
    )


def failure(exc: Exception, what: str) -> Ending:
    """Map a runner's exception, once, at the engine's boundary. `what`: "could not be ..."."""
    # On the host as well: latents and pictures are arrays of this process.
    if isinstance(exc, (ModelOutOfMemory, MemoryError)):
        error: ServiceError = DeviceOutOfMemory(
            "The device has too little memory for this request; try fewer or smaller images.",
            retry_after_s=1.0,
        )
    else:
        logger.error("a request %s", what, exc_info=exc)
        error = InternalError(f"The picture {what}.")
    return Ending(Outcome.FAILED, error)
