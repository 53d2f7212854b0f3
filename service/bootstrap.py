"""Builds the application from its settings: the only place that constructs adapters."""

from __future__ import annotations

import logging
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from models.registry import load_model
from service.access.generation import GuardedGeneration
from service.engine.admission import AdmissionQueue
from service.engine.client import EngineClient
from service.engine.loop import EngineLoop
from service.generation import GenerateImages
from service.model_set import open_each
from service.provenance.closed_loop import MarkMargin
from service.provenance.decode import DecodeLimits
from service.provenance.keys import load_signing_material
from service.provenance.ledger import Ledger
from service.provenance.manifest import SystemIdentity
from service.provenance.pipeline import MarkingPipeline
from service.provenance.signer import C2paSigner
from service.provenance.verify import VerificationTrust, Verifier
from service.provenance.watermark import Effort, SpreadSpectrumWatermarker
from service.rest.dependencies import RestDependencies
from service.storage.build import build_storage
from service.telemetry.generation import CountedGeneration
from service.telemetry.metric_table import MODEL_LOAD_SECONDS, QUEUE_DEPTH, SIGNER_EXPIRY_SECONDS
from service.telemetry.observer import MetricsObserver
from service.version import installed_version

if TYPE_CHECKING:
    from models.interface import DiffusionModel
    from models.options import LoadOptions
    from service.access.control import AccessControl
    from service.config import Settings
    from service.provenance.keys import SigningMaterial
    from service.telemetry.metrics import Metrics

logger = logging.getLogger(__name__)

_ENGINE_STOP_S = 10.0


@dataclass(frozen=True, slots=True)
class _Provenance:
    """The adapters of marking and verifying."""

    material: SigningMaterial
    marker: MarkingPipeline
    verifier: Verifier


class Application:
    """A loaded, running server without its transports.

    `rest`: what the HTTP app needs. `close` frees everything and may be called twice.
    """

    def __init__(
        self, rest: RestDependencies, loop: EngineLoop, client: EngineClient, resources: ExitStack
    ) -> None:
        self.rest = rest
        self._loop = loop
        self._client = client
        self._resources = resources

    @property
    def is_alive(self) -> bool:
        """Tell whether the engine thread runs."""
        return self._loop.is_alive

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
        provenance = _build_provenance(settings, metrics, observer, stack)
        models = open_each(
            settings.model,
            lambda options: _load(options, metrics, stack),
            lambda model: model.spec.model_id,
        )
        queue = AdmissionQueue(settings.engine.max_queued_images)
        # Asked, not told: events from two threads would leave the gauge at an old depth.
        metrics.follow(QUEUE_DEPTH, lambda: queue.depth)
        loop = EngineLoop(models, queue, settings.engine, observer, time.monotonic)
        loop.start()
        stack.callback(loop.stop, _ENGINE_STOP_S)
        client = EngineClient(models, queue, loop, observer, time.monotonic)
        marking_pool = _pool("marking", settings.server.marking_threads, stack)
        generate = GenerateImages(models, client, provenance.marker, marking_pool, time.monotonic)
        guarded = GuardedGeneration(
            generate, access, lambda request: client.seconds_for(request.num_images)
        )
        rest = RestDependencies(
            generate=CountedGeneration(guarded, metrics),
            models={name: model.spec for name, model in models.items()},
            default_model_id=next(iter(models)),
            verifier=provenance.verifier,
            verify_pool=_pool("verify", settings.server.verify_threads, stack),
            trust_anchors_pem=provenance.material.anchors_pem.encode(),
            storage=build_storage(settings.storage, settings.server.state_dir, stack),
        )
        return Application(rest, loop, client, stack.pop_all())


def _build_provenance(
    settings: Settings, metrics: Metrics, observer: MetricsObserver, stack: ExitStack
) -> _Provenance:
    options, state_dir = settings.provenance, settings.server.state_dir
    material = load_signing_material(options, state_dir)
    metrics.follow(SIGNER_EXPIRY_SECONDS, lambda: _seconds_until(material.not_after))
    provider = options.provider or material.organisation
    system = SystemIdentity(provider, options.system, installed_version())
    signer = C2paSigner(material, system)
    stack.callback(signer.close)
    signer.self_test()
    ledger = Ledger.open(settings.ledger, state_dir)
    stack.callback(ledger.close)
    quality = options.watermark_margin_quality
    marker = MarkingPipeline(
        # What is found in whole pictures, the verifier finds first as well.
        SpreadSpectrumWatermarker(effort=Effort.WHOLE),
        signer,
        ledger,
        observer.on_marking_stage,
        margin=MarkMargin(quality) if quality else None,
    )
    limits = DecodeLimits(settings.limits.max_upload_bytes, settings.limits.max_upload_pixels)
    verifier = Verifier(VerificationTrust.of(material), SpreadSpectrumWatermarker(), ledger, limits)
    stack.callback(verifier.close)
    return _Provenance(material, marker, verifier)


def _load(options: LoadOptions, metrics: Metrics, stack: ExitStack) -> DiffusionModel:
    """Return one model, warm; the stack closes it."""
    started_s = time.perf_counter()
    model = load_model(options)
    stack.callback(model.close)
    _warm_up(model)
    metrics.set(MODEL_LOAD_SECONDS, time.perf_counter() - started_s, model.spec.model_id)
    return model


def _warm_up(model: DiffusionModel) -> None:
    """Run every part once, so that the first caller does not pay for it.

    A model that cannot do one guided step at its default size cannot serve.
    """
    spec = model.spec
    shape = spec.latent.shape(*spec.default_size_px)
    embeds = model.encode_prompt("")
    latents = model.arrays.zeros((2, *shape))
    times = np.full(2, 500.0, np.float32)
    model.denoise(latents, times, model.arrays.concat([embeds, embeds]))
    model.decode(model.arrays.zeros((1, *shape)))
    if model.can_encode_image:
        width_px, height_px = spec.default_size_px
        model.encode_image(np.zeros((1, height_px, width_px, 3), np.uint8))


def _pool(name: str, threads: int, stack: ExitStack) -> ThreadPoolExecutor:
    pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
    stack.callback(pool.shutdown, wait=False, cancel_futures=True)
    return pool


def _seconds_until(moment: datetime) -> float:
    return (moment - datetime.now(UTC)).total_seconds()
