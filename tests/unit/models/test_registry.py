"""The registry: from options to a model, or to one clear sentence."""

from __future__ import annotations

import sys
from fnmatch import fnmatch
from pathlib import Path

import huggingface_hub
import pytest
from pydantic import ValidationError

from models.options import LoadOptions
from models.registry import load_model, read_spec
from models.runners.interface import RunnerUnavailable
from models.weights import WeightsError
from tests.models_kit import edit_json, make_hollow_folder

PICKLES = ("unet/diffusion_pytorch_model.bin", "model.ckpt", "unet/model.pt", "x.pkl")


@pytest.fixture
def folder(tmp_path):
    return make_hollow_folder(tmp_path / "my-model")


def options(folder, **changes):
    return LoadOptions(path=str(folder), **changes)


def test_without_a_path_the_embedded_model_is_read():
    spec = read_spec(LoadOptions())
    assert spec.model_id == "mintmark-emoji-64"
    assert spec.default_size_px == (64, 64)
    assert spec.defaults.guidance_scale == 4.0
    assert len(spec.card["subjects"]) == 64


def test_the_embedded_model_knows_its_subjects_without_further_lists():
    vocabulary = read_spec(LoadOptions()).vocabulary
    assert vocabulary is not None
    assert vocabulary.find_warnings("a zeppelin and a cat") == ("not drawn: 'zeppelin'",)


def test_a_folder_without_subjects_takes_any_prompt(folder):
    assert read_spec(options(folder)).vocabulary is None


def test_what_is_nearest_is_read_from_the_folder(folder):
    (folder / "mintmark.json").write_text('{"card": {"subjects": ["car"]}}')
    (folder / "vocabulary.json").write_text('{"truck": "car"}')
    vocabulary = read_spec(options(folder, verify_digests=False)).vocabulary
    assert vocabulary is not None
    assert vocabulary.find_warnings("a truck") == ("not drawn: 'truck'; nearest known: 'car'",)
    (folder / "vocabulary.json").write_text('{"truck": "lorry"}')
    with pytest.raises(WeightsError, match=r"vocabulary\.json must map words to names"):
        read_spec(options(folder, verify_digests=False))


def test_the_model_id_is_the_option_then_the_fact_then_the_folder(folder):
    assert read_spec(options(folder)).model_id == "my-model"
    (folder / "mintmark.json").write_text('{"model_id": "from-facts"}')
    unverified = {"verify_digests": False}
    assert read_spec(options(folder, **unverified)).model_id == "from-facts"
    assert read_spec(options(folder, model_id="mine", **unverified)).model_id == "mine"


def test_the_revision_is_the_same_with_and_without_verification(folder):
    verified = read_spec(options(folder)).revision
    assert read_spec(options(folder, verify_digests=False)).revision == verified
    (folder / "SHA256SUMS").unlink()
    assert read_spec(options(folder, verify_digests=False)).revision == verified


def test_an_altered_folder_is_refused_unless_verification_is_off(folder):
    edit_json(folder / "unet/config.json", _note="altered")
    with pytest.raises(WeightsError, match="does not match"):
        read_spec(options(folder))
    assert read_spec(options(folder, verify_digests=False)).family == "stable_diffusion"


def test_a_folder_that_is_no_pipeline_is_refused(tmp_path):
    with pytest.raises(WeightsError, match=r"no model_index\.json"):
        load_model(options(tmp_path))


def test_an_unsupported_pipeline_names_the_supported_ones(folder):
    edit_json(folder / "model_index.json", _class_name="FluxPipeline")
    with pytest.raises(WeightsError, match=r"FluxPipeline.*supported: .*StableDiffusionPipeline"):
        load_model(options(folder))


def test_a_folder_without_graphs_says_how_to_get_them(folder):
    with pytest.raises(WeightsError, match="mintmark export"):
        load_model(options(folder))


def test_a_graph_that_is_not_one_is_refused(folder):
    for name in ("text_encoder/model.onnx", "unet/model.onnx", "vae/decoder.onnx"):
        (folder / name).write_bytes(b"not a graph")
    with pytest.raises(WeightsError, match="ONNX Runtime cannot load"):
        load_model(options(folder, verify_digests=False))


def test_a_path_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(WeightsError, match="no model folder"):
        load_model(options(tmp_path / "nowhere"))


def test_a_hub_id_is_not_fetched_unless_downloads_are_allowed():
    with pytest.raises(WeightsError, match="allow downloads"):
        load_model(LoadOptions(path="someone/some-model"))


def test_a_hub_model_is_fetched_without_pickles_and_named_after_its_repository(folder, monkeypatch):
    calls = []

    def fake_download(hub_id, *, revision, allow_patterns):
        calls.append((hub_id, revision))
        assert not any(fnmatch(name, pattern) for name in PICKLES for pattern in allow_patterns)
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fake_download)
    hub = LoadOptions(path="someone/some-model", hub_revision="abc", allow_download=True)
    assert read_spec(hub).model_id == "someone/some-model"
    assert calls == [("someone/some-model", "abc")]


def test_a_failed_download_is_one_clear_error(monkeypatch):
    def fail(hub_id, *, revision, allow_patterns):
        raise ConnectionError("no route to the hub")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(WeightsError, match="cannot be downloaded: no route"):
        load_model(LoadOptions(path="someone/some-model", allow_download=True))


def test_the_torch_runner_without_torch_says_what_to_install(folder, monkeypatch):
    monkeypatch.delitem(sys.modules, "models.runners.torch_runner", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(RunnerUnavailable, match=r"needs torch: pip install 'mintmark\[torch\]'"):
        load_model(options(folder, runner="torch"))


def test_half_precision_needs_the_torch_runner():
    with pytest.raises(ValidationError, match="needs runner 'torch'"):
        LoadOptions(dtype="bfloat16")
    assert LoadOptions(dtype="bfloat16", runner="torch").dtype == "bfloat16"


def test_a_misspelt_option_is_refused():
    with pytest.raises(ValidationError, match="num_thread"):
        LoadOptions.model_validate({"num_thread": 2})


def test_one_folder_is_one_model(folder):
    assert [one.path for one in options(folder).each()] == [str(folder)]


def test_further_folders_share_everything_but_their_name():
    first = LoadOptions(
        path="/a", also=("/b", "org/name@abc"), model_id="mine", hub_revision="1", num_threads=2
    )
    one, two, three = first.each()
    assert (one.path, one.model_id, one.hub_revision) == ("/a", "mine", "1")
    assert (two.path, two.model_id, two.hub_revision) == ("/b", None, None)
    assert (three.path, three.model_id, three.hub_revision) == ("org/name", None, "abc")
    assert {each.num_threads for each in (one, two, three)} == {2}
    assert all(each.each() == (each,) for each in (one, two, three))


def test_a_folder_may_have_an_at_sign_in_its_name(tmp_path):
    folder = tmp_path / "model@2"
    folder.mkdir()
    assert LoadOptions(also=(str(folder),)).each()[1].path == str(folder)


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({}, ["embedded", "embedded_few_step"]),
        ({"also": ()}, ["embedded"]),
        ({"also": ("/b",)}, ["embedded", "b"]),
        ({"path": "/a"}, ["a"]),
    ],
)
def test_the_embedded_sibling_comes_along_unless_told_otherwise(tmp_path, changes, names):
    class Installed(LoadOptions):
        @classmethod
        def embedded_folder(cls):
            return tmp_path / "embedded"

    (tmp_path / "embedded_few_step").mkdir()
    found = Installed(**changes).each()
    paths = [Path(one.path) if one.path else one.embedded_folder() for one in found]
    assert [path.name for path in paths] == names


def test_without_an_embedded_sibling_one_model_is_served(tmp_path):
    class Installed(LoadOptions):
        @classmethod
        def embedded_folder(cls):
            return tmp_path / "embedded"

    assert len(Installed().each()) == 1


def test_a_list_that_is_none_is_told_what_it_must_be():
    with pytest.raises(ValidationError, match="must be a JSON list"):
        LoadOptions.model_validate({"also": "/models/another"})
