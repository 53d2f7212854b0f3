"""The engine's one thread: admit, plan, step, decode, again (stops 5-8)."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

from service.domain.events import Admitted, Finished, Outcome, StepDone, Woke, Worked
from service.engine.batching import BatchPlanner, RowBudget, StepBatch
from service.engine.decoding import DecodeQueue
from service.engine.endings import Ending, failure, left
from service.engine.executor import StepExecutor
from service.engine.watchdog import Watchdog
from service.engine.work import StepTimes, remaining_s
from service.errors import Draining, InternalError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from models.interface import DiffusionModel
    from service.domain.events import Observer
    from service.engine.admission import AdmissionQueue
    from service.engine.options import EngineOptions
    from service.engine.request_state import ImageState, Job
    from service.engine.watchdog import Stall

logger = logging.getLogger(__name__)


class EngineLoop:
    """Owns every running image. `tick` may be called by hand; `start` runs it in a thread.

    `clock`: monotonic seconds.
    """

    def __init__(
        self,
        models: Mapping[str, DiffusionModel],
        queue: AdmissionQueue,
        options: EngineOptions,
        observer: Observer,
        clock: Callable[[], float],
    ) -> None:
        self._queue = queue
        self._observer = observer
        self._clock = clock
        self._planner = BatchPlanner()
        self._budget = RowBudget(
            options.max_batch_rows,
            {name: _native_positions(model) for name, model in models.items()},
        )
        self._executors = {
            name: StepExecutor(
                model, options.max_batch_rows, observer, clock, pin_rows=options.pin_batch_rows
            )
            for name, model in models.items()
        }
        self._times = StepTimes()
        self._watchdog = Watchdog(clock, options.stuck_after_s, self._times)
        self._active: list[ImageState] = []
        self._undecoded = DecodeQueue(self._executors, observer, clock)
        self._is_stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self.last_tick_at_s = clock()

    @property
    def is_alive(self) -> bool:
        """Tell whether the engine thread runs."""
        return self._thread.is_alive()

    def stall(self) -> Stall | None:
        """Return what the engine is stuck in, or None; a call that takes long is no stall yet."""
        return self._watchdog.stall()

    def seconds_of_work(self) -> float:
        """Return the denoiser seconds that everything accepted still takes, as steps went lately.

        From any thread; 0 before the first step.
        """
        return remaining_s(self._times, list(self._active), self._queue.waiting())

    def expect_step(self, step_s: float) -> None:
        """Take note of how long a warm-up took: the watchdog waits accordingly for first steps."""
        self._times.expect(step_s)

    @property
    def is_idle(self) -> bool:
        """Tell whether nothing waits, runs or is being decoded."""
        return not (self._queue.depth or self._active or self._undecoded)

    @property
    def running_images(self) -> int:
        """Return the number of images that hold a slot."""
        return len(self._running)

    @property
    def _running(self) -> list[ImageState]:
        return [*self._active, *self._undecoded.states]

    def start(self) -> None:
        """Start the engine thread."""
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """Refuse new work, end what is left with Draining, and join the thread."""
        self._is_stopping.set()
        self._queue.close()
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        if self._thread.is_alive():  # a call that does not return: its state is not ours to touch
            logger.error("the engine thread did not stop within %.1f s", timeout_s)
            return
        self._end_all(Ending(Outcome.FAILED, Draining("The server is shutting down.")))

    def tick(self) -> bool:
        """Do one turn: drop, admit, step, decode. Return whether there was anything to do."""
        self.last_tick_at_s = started_s = self._clock()
        self._drop_cancelled_and_expired()
        had_work = not self.is_idle
        self._admit()
        batch = self._planner.plan_step(self._active)
        if batch is not None:
            self._step(batch)
        self._decode(at_most=1 if self._active else None)
        self._watchdog.rest()
        if had_work:
            self._observer.on_event(Worked(self._clock() - started_s))
        return batch is not None or bool(self._undecoded)

    def _run(self) -> None:
        while not self._is_stopping.is_set():
            try:
                is_busy = self.tick()
            except Exception:
                # Whatever went wrong, nobody may wait forever: answer all, then go on.
                logger.exception("engine tick failed")
                self._end_all(Ending(Outcome.FAILED, InternalError("The engine failed.")))
                is_busy = True
            if not is_busy:
                self._queue.wait(None)
                self._observer.on_event(Woke())

    def _drop_cancelled_and_expired(self) -> None:
        now_s = self._clock()

        def should_leave(job: Job) -> bool:
            return job.cancel_requested or job.deadline.is_past(now_s)

        leaving = {id(job): job for job in self._queue.remove_where(should_leave)}
        running = (state.job for state in self._running)
        leaving |= {id(job): job for job in running if should_leave(job)}
        for job in leaving.values():
            self._end(job, left(job))

    def _admit(self) -> None:
        while (head := self._queue.head()) is not None:
            if not self._budget.has_room(self._running, head):
                return
            job, image_index = self._queue.take()
            self._watchdog.enter(f"preparing an image for {job.key}")
            times = job.times.images[image_index]
            times.encode_started_s = self._clock()
            try:
                state = self._executors[job.key.model_id].join(job, image_index)
            except Exception as exc:  # noqa: BLE001 - the tick's boundary: one job's failure
                self._end(job, job.context.run(failure, exc, "could not be prepared"))
                continue
            self._active.append(state)
            times.encoded_s = self._clock()
            if job.admitted_at_s is None:
                job.admitted_at_s = times.encoded_s
                queued_s = job.admitted_at_s - job.submitted_at_s
                self._observer.on_event(Admitted(job.request_id, queued_s))

    def _step(self, batch: StepBatch) -> None:
        self._watchdog.enter(f"a step of {batch.rows} rows of {batch.key}")
        started_s = self._clock()
        try:
            previews = self._executors[batch.key.model_id].run(batch)
        except Exception as exc:  # noqa: BLE001 - the tick's boundary
            self._survive(batch, exc)
        else:
            ended_s = self._clock()
            step_s = ended_s - started_s
            for state in batch.states:
                state.times.note_step(ended_s, batch.rows)
            self._times.note(batch.key, batch.rows, step_s)
            self._observer.on_event(_step_done(batch, step_s))
            for job in _unique(state.job for state in batch.states):
                job.sink.progressed(job.steps_done, job.steps_total)
            for preview in previews:
                self._undecoded.add(preview)
        for state in [state for state in self._active if state.is_denoised]:
            self._active.remove(state)
            self._undecoded.add(state)

    def _survive(self, batch: StepBatch, exc: Exception) -> None:
        """Find out whose fault a failed call was: run its images one by one.

        A failed call has changed nothing, so this costs the neighbours time and no bits.
        """
        if len(batch.states) == 1:
            job = batch.states[0].job
            self._end(job, job.context.run(failure, exc, "failed while denoising"))
            return
        logger.warning("a batch of %d rows failed, retrying its images alone", batch.rows)
        for state in batch.states:
            if state.job.outcome is None:
                self._step(StepBatch(batch.key, (state,)))

    def _decode(self, at_most: int | None) -> None:
        """Decode what waits; only a few per tick while others are still stepping."""
        count = len(self._undecoded) if at_most is None else min(at_most, len(self._undecoded))
        for _ in range(count):
            if not self._undecoded:  # a failed decode ends the job's other images as well
                return
            job = self._undecoded.next_job()
            self._watchdog.enter(f"decoding an image of {job.key}")
            try:
                self._undecoded.decode_next()
            except Exception as exc:  # noqa: BLE001 - the tick's boundary
                self._end(job, job.context.run(failure, exc, "could not be decoded"))
                continue
            if job.images_left == 0:
                job.outcome = Outcome.DONE
                self._report_finished(job)
                job.sink.resolve()

    def _end(self, job: Job, ending: Ending) -> None:
        """Free everything the job holds and answer it, unless it has been answered."""
        self._queue.remove_where(lambda waiting: waiting is job)
        for state in [state for state in self._active if state.job is job]:
            self._active.remove(state)
            self._executors[state.key.model_id].leave(state)
        self._undecoded.forget(job)
        if job.outcome is None:
            job.outcome = ending.outcome
            self._report_finished(job)
            job.sink.reject(ending.error)

    def _end_all(self, ending: Ending) -> None:
        waiting = self._queue.remove_where(lambda _: True)
        running = [state.job for state in self._running]
        for job in _unique([*waiting, *running]):
            self._end(job, ending)

    def _report_finished(self, job: Job) -> None:
        now_s = self._clock()
        cancel_s = None
        if job.outcome is Outcome.CANCELLED and job.cancelled_at_s is not None:
            cancel_s = now_s - job.cancelled_at_s
        event = Finished(
            job.request_id,
            _outcome(job),
            now_s - job.submitted_at_s,
            has_started=job.admitted_at_s is not None,
            cancel_s=cancel_s,
        )
        self._observer.on_event(event)


def _outcome(job: Job) -> Outcome:
    assert job.outcome is not None
    return job.outcome


def _step_done(batch: StepBatch, step_s: float) -> StepDone:
    request = batch.states[0].job.request
    return StepDone(
        batch_key=str(batch.key),
        rows=batch.rows,
        images=len(batch.states),
        step_s=step_s,
        model_id=batch.key.model_id,
        size_px=(request.width_px, request.height_px),
        shares=tuple((state.job.request_id, state.rows) for state in batch.states),
    )


def _unique(jobs: Iterable[Job]) -> list[Job]:
    return list({id(job): job for job in jobs}.values())


def _native_positions(model: DiffusionModel) -> int:
    _, height, width = model.spec.latent.shape(*model.spec.default_size_px)
    return height * width
