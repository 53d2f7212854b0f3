"""The whole application without transports: built from settings, used, drained, closed."""

from __future__ import annotations

import time

import pytest

from models.options import LoadOptions
from service.bootstrap import build_application
from service.config import ServerOptions, Settings
from service.domain.identity import Deadline, RequestId
from service.errors import ConfigurationError, Draining
from service.intake import GenerationDraft, LimitsOptions, build_request
from service.telemetry.metrics import Metrics


@pytest.fixture
def settings(tmp_path):
    return Settings(server=ServerOptions(state_dir=tmp_path))


async def generate(application):
    rest = application.rest
    draft = GenerationDraft(prompt="a red apple", num_inference_steps=2, seed=1)
    spec = rest.models[rest.default_model_id]
    return await rest.generate(
        build_request(draft, spec, LimitsOptions()),
        request_id=RequestId("one"),
        deadline=Deadline.after(60, time.monotonic()),
    )


async def test_a_picture_is_made_known_and_recognised(settings):
    metrics = Metrics("test")
    application = build_application(settings, metrics)
    try:
        result = await generate(application)
        (image,) = result.images
        report = application.rest.verifier.verify(image.content)
        assert report.verdict == "ai_generated_by_us"
        assert report.watermark.output_id == image.output_id
        exposition = metrics.exposition().decode()
        assert 'mintmark_marking_seconds_count{stage="sign"} 1.0' in exposition
        assert "mintmark_signer_expiry_seconds" in exposition
        assert "mintmark_queue_depth 0.0" in exposition
    finally:
        application.close()


async def test_draining_refuses_new_work_and_closing_twice_is_harmless(settings):
    application = build_application(settings, Metrics("test"))
    assert application.is_alive
    await application.drain()
    with pytest.raises(Draining):
        await generate(application)
    application.close()
    application.close()
    assert not application.is_alive


def test_a_model_that_cannot_be_loaded_leaves_nothing_running(settings):
    broken = settings.model_copy(update={"model": LoadOptions(path="/nowhere")})
    with pytest.raises(ConfigurationError, match="/nowhere"):
        build_application(broken, Metrics("test"))
