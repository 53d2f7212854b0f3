"""Builds the application from its settings: the only place that constructs adapters."""

from __future__ import annotations

import logging
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from models.registry import load_model
from service.access.generation import GuardedGeneration
from service.database.answers import AnswerTable, answer_sweeper
from service.database.database import Database
from service.database.watch import DatabaseWatch
from service.engine.admission import AdmissionQueue
from service.engine.client import EngineClient
from service.engine.loop import EngineLoop
from service.generation import GenerateImages
from service.health import QueueGate, SignerGate, WorkerHealth
from service.model_set import open_each
from service.provenance.closed_loop import MarkMargin
from service.provenance.decode import DecodeLimits
from service.provenance.keys import check_key_is_shared, load_signing_material
from service.provenance.ledger import Ledger
from service.provenance.manifest import SystemIdentity
from service.provenance.pipeline import MarkingPipeline
from service.provenance.signer import C2paSigner
from service.provenance.verify import VerificationTrust, Verifier
from service.provenance.watermark import Effort, SpreadSpectrumWatermarker
from service.rest.dependencies import RestDependencies
from service.rest.shared_answers import SharedRequests
from service.storage.build import build_storage
from service.telemetry.energy import (
    EnergyAccount,
    EnergyMeter,
    energy_sampler,
    find_energy_sources,
)
from service.telemetry.generation import CountedGeneration
from service.telemetry.ledger import TimedRecorder
from service.telemetry.metric_table import (
    MODEL_LOAD_SECONDS,
    MODEL_MEMORY_BYTES,
    MODEL_WEIGHTS_BYTES,
    QUEUE_DEPTH,
    QUEUED_WORK_SECONDS,
    SIGNER_EXPIRY_SECONDS,
)
from service.telemetry.observer import MetricsObserver, Observers
from service.telemetry.recorded_generation import RecordedGeneration
from service.telemetry.request_record import noting_stages
from service.telemetry.storage import CountedStorage
from service.version import installed_version

if TYPE_CHECKING:
    from collections.abc import Callable

    from models.interface import DiffusionModel
    from models.options import LoadOptions
    from service.access.control import AccessControl
    from service.config import Settings
    from service.errors import ServiceError
    from service.provenance.keys import SigningMaterial
    from service.storage.interface import Storage
    from service.telemetry.metrics import Metrics

logger = logging.getLogger(__name__)

_ENGINE_STOP_S = 10.0
_SHARED_ANSWER_THREADS = 2


@dataclass(frozen=True, slots=True)
class _Provenance:
    """The adapters of marking and verifying."""

    material: SigningMaterial
    marker: MarkingPipeline
    verifier: Verifier


class Application:
    """A loaded, running server without its transports.

    `rest`: what the HTTP app needs. `end_requests`: ends whatever is being generated.
    `close` frees everything and may be called twice.
    """

    def __init__(
        self,
        rest: RestDependencies,
        health: WorkerHealth,
        client: EngineClient,
        resources: ExitStack,
        end_requests: Callable[[], None] = lambda: None,
    ) -> None:
        self.rest = rest
        self._health = health
        self._client = client
        self._resources = resources
        self.end_requests = end_requests

    def why_not_live(self) -> ServiceError | None:
        """Return why only a restart helps, or None."""
        return self._health.why_not_live()

    def why_not_ready(self) -> ServiceError | None:
        """Return why no new work is welcome, although it is live, or None."""
        return self._health.why_not_ready()

    async def drain(self) -> None:
        """Refuse new requests and return when the last one has left the engine."""
        await self._client.drain()

    def close(self) -> None:
        """Stop the engine and free pools, signer, ledger and models. Blocking."""
        self._resources.close()


def build_application(settings: Settings, metrics: Metrics, access: AccessControl) -> Application:
    """Load the models, check the signing key, open the ledger, start the engine. Blocking.

    access: who may call, asked before anything is generated, whatever the transport.
    Raises ConfigurationError with one clear sentence when something in the settings, the mounted
    files or the state folder does not let the server do its work.
    """
    with ExitStack() as stack:
        observer = MetricsObserver(metrics)
        database = Database.open(settings.ledger, settings.server.state_dir)
        stack.callback(database.close)
        provenance = _build_provenance(settings, metrics, observer, database, stack)
        warm_up_steps_s: list[float] = []
        models = open_each(
            settings.model,
            lambda options: _load(options, metrics, stack, warm_up_steps_s),
            lambda model: model.spec.model_id,
        )
        queue = AdmissionQueue(settings.engine.max_queued_images)
        # Asked, not told: events from two threads would leave the gauge at an old depth.
        metrics.follow(QUEUE_DEPTH, lambda: queue.depth)
        energy = _open_energy(settings, metrics, stack)
        engine_observer = Observers([observer] if energy is None else [observer, energy])
        loop = EngineLoop(models, queue, settings.engine, engine_observer, time.monotonic)
        loop.expect_step(max(warm_up_steps_s))
        metrics.follow(QUEUED_WORK_SECONDS, loop.seconds_of_work)
        loop.start()
        stack.callback(loop.stop, _ENGINE_STOP_S)
        client = EngineClient(models, queue, loop, engine_observer, time.monotonic)
        marking_pool = _pool("marking", settings.server.marking_threads, stack)
        material = provenance.material
        signer = SignerGate(
            material.seconds_left, material.seconds_to_wait, settings.engine.request_timeout_s
        )
        generate = GenerateImages(
            models, client, provenance.marker, marking_pool, time.monotonic, signer.refusal
        )
        guarded = GuardedGeneration(
            generate, access, lambda request: client.seconds_for(request.num_images)
        )
        rest = RestDependencies(
            generate=RecordedGeneration(
                CountedGeneration(guarded, metrics, energy=energy),
                logs_prompts=settings.telemetry.log_prompts,
            ),
            models={name: model.spec for name, model in models.items()},
            default_model_id=next(iter(models)),
            verifier=provenance.verifier,
            verify_pool=_pool("verify", settings.server.verify_threads, stack),
            trust_anchors_pem=material.anchors_pem.encode(),
            storage=_open_storage(settings, metrics, stack),
            shared=_open_shared(settings, database, stack),
        )
        gate = QueueGate(lambda: queue.depth, settings.engine.max_queued_images)
        refusals = [signer.refusal, *_watch(database, stack)]
        health = WorkerHealth(loop, gate, refusals)
        return Application(rest, health, client, stack.pop_all(), generate.end_all)


def _watch(database: Database, stack: ExitStack) -> list[Callable[[], ServiceError | None]]:
    """Return what tells whether the database is away; nothing if it is a file of this machine."""
    if not database.is_shared:
        return []
    watch = DatabaseWatch(database.check)
    watch.start()
    stack.callback(watch.stop)
    return [watch.refusal]


def _open_shared(settings: Settings, database: Database, stack: ExitStack) -> SharedRequests | None:
    """Return where replicas meet; None if the database is one machine's own."""
    if not database.is_shared:
        return None
    access = settings.access
    answers = AnswerTable(database, access.idempotency_ttl_s, access.idempotency_max_bytes)
    sweeper = answer_sweeper(answers)
    sweeper.start()
    stack.callback(sweeper.stop)
    pool = _pool("answers", _SHARED_ANSWER_THREADS, stack)
    return SharedRequests(answers, pool, settings.engine.request_timeout_s)


def _build_provenance(
    settings: Settings,
    metrics: Metrics,
    observer: MetricsObserver,
    database: Database,
    stack: ExitStack,
) -> _Provenance:
    options, state_dir = settings.provenance, settings.server.state_dir
    check_key_is_shared(options, has_shared_ledger=database.is_shared)
    material = load_signing_material(options, state_dir)
    metrics.follow(SIGNER_EXPIRY_SECONDS, material.seconds_left)
    provider = options.provider or material.organisation
    system = SystemIdentity(provider, options.system, installed_version())
    signer = C2paSigner(material, system)
    stack.callback(signer.close)
    signer.self_test()
    ledger = Ledger(database)
    quality = options.watermark_margin_quality
    marker = MarkingPipeline(
        # What is found in whole pictures, the verifier finds first as well.
        SpreadSpectrumWatermarker(effort=Effort.WHOLE),
        signer,
        TimedRecorder(ledger, metrics),
        noting_stages(observer.on_marking_stage),
        margin=MarkMargin(quality) if quality else None,
    )
    limits = DecodeLimits(settings.limits.max_upload_bytes, settings.limits.max_upload_pixels)
    verifier = Verifier(VerificationTrust.of(material), SpreadSpectrumWatermarker(), ledger, limits)
    stack.callback(verifier.close)
    return _Provenance(material, marker, verifier)


def _open_energy(settings: Settings, metrics: Metrics, stack: ExitStack) -> EnergyAccount | None:
    """Return who shares out what the hardware counts; None if it counts nothing."""
    uses_gpu = settings.model.device == "cuda"
    sources = find_energy_sources(settings.telemetry, uses_gpu=uses_gpu)
    if not sources:
        return None
    meter = EnergyMeter(sources, metrics)
    sampler = energy_sampler(meter)
    sampler.start()
    stack.callback(sampler.stop)
    return EnergyAccount(meter)


def _open_storage(settings: Settings, metrics: Metrics, stack: ExitStack) -> Storage | None:
    """Return where pictures are kept that are answered by link, counted."""
    storage = build_storage(settings.storage, settings.server.state_dir, stack)
    if storage is None:
        return None
    counted = CountedStorage(storage.pictures, metrics, settings.storage.kind)
    return replace(storage, pictures=counted)


def _load(
    options: LoadOptions, metrics: Metrics, stack: ExitStack, warm_up_steps_s: list[float]
) -> DiffusionModel:
    """Return one model, warm, and append how long its warm-up step took; the stack closes it."""
    started_s = time.perf_counter()
    model = load_model(options)
    stack.callback(model.close)
    warm_up_steps_s.append(_warm_up(model))
    model_id, footprint = model.spec.model_id, model.footprint
    metrics.set(MODEL_LOAD_SECONDS, time.perf_counter() - started_s, model_id)
    metrics.set(MODEL_WEIGHTS_BYTES, footprint.weights_bytes, model_id)
    if footprint.memory_bytes is not None:
        metrics.set(MODEL_MEMORY_BYTES, footprint.memory_bytes, model_id, options.device)
    return model


def _warm_up(model: DiffusionModel) -> float:
    """Run every part once, so that the first caller does not pay for it.

    Returns the seconds of the denoiser's call, which a guided step may take as well. A model that
    cannot do one at its default size cannot serve.
    """
    spec = model.spec
    shape = spec.latent.shape(*spec.default_size_px)
    embeds = model.encode_prompt("")
    latents = model.arrays.zeros((2, *shape))
    times = np.full(2, 500.0, np.float32)
    began_s = time.perf_counter()
    model.denoise(latents, times, model.arrays.concat([embeds, embeds]))
    step_s = time.perf_counter() - began_s
    model.decode(model.arrays.zeros((1, *shape)))
    if model.can_encode_image:
        width_px, height_px = spec.default_size_px
        model.encode_image(np.zeros((1, height_px, width_px, 3), np.uint8))
    return step_s


def _pool(name: str, threads: int, stack: ExitStack) -> ThreadPoolExecutor:
    pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
    stack.callback(pool.shutdown, wait=False, cancel_futures=True)
    return pool
