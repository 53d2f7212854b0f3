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
from service.storage.options import StorageOptions
from service.telemetry.energy_sources import find_rapl_zones
from service.telemetry.metrics import Metrics


@pytest.fixture
def settings(tmp_path):
    return Settings(server=ServerOptions(state_dir=tmp_path))


def metric(metrics, line_start):
    lines = metrics.exposition().decode().splitlines()
    (line,) = [line for line in lines if line.startswith(line_start)]
    return float(line.rpartition(" ")[2])


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
        assert "mintmark_queued_work_seconds 0.0" in exposition
        assert "mintmark_ledger_write_seconds_count 1.0" in exposition
        assert "mintmark_ledger_lag_seconds 0.0" in exposition
        steps = 'mintmark_step_seconds_count{model="mintmark-emoji-64",size="64x64"} 2.0'
        assert steps in exposition
        folder = LoadOptions.embedded_folder()
        weights = [*folder.glob("*/*.safetensors"), *folder.glob("*/*.onnx")]
        size_bytes = sum(path.stat().st_size for path in weights)
        series = 'mintmark_model_weights_bytes{model="mintmark-emoji-64"}'
        assert metric(metrics, series) == size_bytes
        # ONNX Runtime does not tell, so nothing is said.
        assert "mintmark_model_memory_bytes" not in exposition
    finally:
        application.close()


async def test_draining_refuses_new_work_and_closing_twice_is_harmless(settings):
    application = build_application(settings, Metrics("test"), open_access())
    assert application.why_not_live() is None
    assert application.why_not_ready() is None
    await application.drain()
    with pytest.raises(Draining):
        await generate(application)
    application.close()
    application.close()
    assert application.why_not_live() is not None


async def test_pictures_by_link_are_counted(settings):
    metrics = Metrics("test")
    kept = settings.model_copy(update={"storage": StorageOptions(kind="folder")})
    application = build_application(kept, metrics, open_access())
    try:
        result = await generate(application)
        storage = application.rest.storage
        assert storage is not None
        storage.pictures.refuse_if_full()
        storage.pictures.store(result.images[0], "https://a.b")
    finally:
        application.close()
    stored = 'mintmark_stored_pictures_total{outcome="stored",storage="folder"}'
    assert metric(metrics, stored) == 1
    size_bytes = len(result.images[0].content)
    assert metric(metrics, 'mintmark_stored_bytes_total{storage="folder"}') == size_bytes


async def test_energy_is_in_results_exactly_where_the_machine_counts_it(settings):
    metrics = Metrics("test")
    application = build_application(settings, metrics, open_access())
    try:
        result = await generate(application)
    finally:
        application.close()
    is_counted = bool(find_rapl_zones())
    assert (result.energy is not None) == is_counted
    assert ("mintmark_energy_joules" in metrics.exposition().decode()) == is_counted


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
