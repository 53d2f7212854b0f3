"""The whole application without transports: built from settings, used, drained, closed."""

from __future__ import annotations

import shutil
import time

import pytest

from models.options import LoadOptions
from models.weights import write_digests
from service.access.control import open_access
from service.bootstrap import build_application
from service.config import ServerOptions, Settings
from service.domain.identity import Deadline, RequestId
from service.errors import ConfigurationError, Draining
from service.intake import GenerationDraft, LimitsOptions, build_request
from service.telemetry.metrics import Metrics


@pytest.fixture
def settings(tmp_path):
    return Settings(server=ServerOptions(state_dir=tmp_path))


async def generate(application, model_id=None, prompt="a red apple"):
    rest = application.rest
    draft = GenerationDraft(prompt=prompt, num_inference_steps=2, seed=1)
    spec = rest.models[model_id or rest.default_model_id]
    return await rest.generate(
        build_request(draft, spec, LimitsOptions()),
        request_id=RequestId("one"),
        deadline=Deadline.after(60, time.monotonic()),
    )


@pytest.fixture
def two_models(settings, exported):
    return settings.model_copy(update={"model": LoadOptions(also=(str(exported),), num_threads=1)})


async def test_a_picture_is_made_known_and_recognised(settings):
    metrics = Metrics("test")
    application = build_application(settings, metrics, open_access())
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
    application = build_application(settings, Metrics("test"), open_access())
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
        build_application(broken, Metrics("test"), open_access())


async def test_two_models_are_served_side_by_side(two_models):
    metrics = Metrics("test")
    application = build_application(two_models, metrics, open_access())
    try:
        rest = application.rest
        assert list(rest.models) == ["mintmark-emoji-64", "tiny-sd-onnx"]
        assert rest.default_model_id == "mintmark-emoji-64"
        first = await generate(application, prompt="an apple and a zeppelin")
        second = await generate(application, "tiny-sd-onnx", prompt="an apple and a zeppelin")
        assert first.warnings == ("not drawn: 'zeppelin'",)
        assert second.warnings == ()  # it lists no subjects
        assert first.images[0].pixels_sha256 != second.images[0].pixels_sha256
        exposition = metrics.exposition().decode()
        for model_id in rest.models:
            assert f'mintmark_model_load_seconds{{model="{model_id}"}}' in exposition
            assert f'mintmark_images_total{{format="png",model="{model_id}"}} 1.0' in exposition
    finally:
        application.close()


def test_a_further_model_that_is_altered_stops_the_start_by_its_setting(
    settings, exported, tmp_path
):
    folder = tmp_path / "altered"
    shutil.copytree(exported, folder)
    (folder / "model_index.json").write_text((folder / "model_index.json").read_text() + " ")
    altered = settings.model_copy(update={"model": LoadOptions(also=(str(folder),))})
    with pytest.raises(ConfigurationError, match=r"MINTMARK_MODEL__ALSO: .*does not match"):
        build_application(altered, Metrics("test"), open_access())


def test_the_same_model_twice_is_refused(settings):
    embedded = str(LoadOptions.embedded_folder())
    twice = settings.model_copy(update={"model": LoadOptions(also=(embedded,))})
    with pytest.raises(ConfigurationError, match="has the id 'mintmark-emoji-64', and so has"):
        build_application(twice, Metrics("test"), open_access())


def test_a_damaged_list_of_words_stops_the_start(settings, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(LoadOptions.embedded_folder(), folder)
    (folder / "vocabulary.json").write_text('{"zeppelin": "no such thing"}')
    write_digests(folder)
    damaged = settings.model_copy(update={"model": LoadOptions(path=str(folder))})
    with pytest.raises(ConfigurationError, match=r"vocabulary\.json must map words to names"):
        build_application(damaged, Metrics("test"), open_access())
