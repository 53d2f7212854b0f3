"""Weights: what a folder must hold, and every way in which it is refused."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest

from models.weights import (
    StoredTensor,
    WeightsError,
    check_weights,
    component_weights,
    compute_digests,
    read_digests,
    read_safetensors_header,
    revision_of,
    verify_digests,
    write_digests,
)
from tests.models_kit import EMBEDDED, edit_json, make_hollow_folder, write_safetensors

UNET_WEIGHTS = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture
def folder(tmp_path):
    return make_hollow_folder(tmp_path / "model")


def write_raw_header(path, header, body=b""):
    encoded = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(encoded)) + encoded + body)


def entry(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"w": {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}}


def test_the_header_gives_each_tensor_its_place_in_the_file(tmp_path):
    path = tmp_path / "w.safetensors"
    values = {"a": np.ones((2, 2), np.float32), "b": np.full(3, 7, np.float32)}
    write_safetensors(path, values)

    header = read_safetensors_header(path)

    place = header["b"]
    assert header["a"].shape == (2, 2)
    stored = path.read_bytes()[place.offset_bytes : place.offset_bytes + place.size_bytes]
    assert np.array_equal(np.frombuffer(stored, np.float32), values["b"])
    assert place == StoredTensor("F32", (3,), header["a"].offset_bytes + 16, 12)


def test_metadata_is_not_a_tensor(tmp_path):
    write_raw_header(tmp_path / "w", {"__metadata__": {"format": "pt"}, **entry()}, b"\0" * 8)
    assert list(read_safetensors_header(tmp_path / "w")) == ["w"]


@pytest.mark.parametrize(
    "header",
    [
        entry(offsets=(0, 800)),
        entry(offsets=(0, 4)),
        entry(offsets=(8, 0)),
        entry(offsets=(-8, 0)),
        entry(shape=(-2,)),
        entry(dtype="PICKLE"),
        entry(shape=("many",)),
        {"w": {"dtype": "F32"}},
        {"w": []},
    ],
)
def test_an_entry_that_cannot_be_true_is_refused(tmp_path, header):
    write_raw_header(tmp_path / "w", header, b"\0" * 8)
    with pytest.raises(WeightsError, match="'w'"):
        read_safetensors_header(tmp_path / "w")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\1",
        struct.pack("<Q", 2**40),
        struct.pack("<Q", 9) + b"{",
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 2) + b"{{",
        b"\x80\x04\x95pickle........",
    ],
)
def test_what_is_not_safetensors_is_refused(tmp_path, content):
    (tmp_path / "w").write_bytes(content)
    with pytest.raises(WeightsError, match="safetensors"):
        read_safetensors_header(tmp_path / "w")


def test_a_file_cut_short_is_refused(folder):
    weights = folder / UNET_WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(WeightsError, match="outside the file"):
        check_weights(folder)


@pytest.mark.parametrize("pickle", ["diffusion_pytorch_model.bin", "model.ckpt", "weights.pt"])
def test_pickled_weights_are_refused_by_name(folder, pickle):
    (folder / UNET_WEIGHTS).unlink()
    (folder / "unet" / pickle).write_bytes(b"\x80\x04N.")
    with pytest.raises(WeightsError, match=rf"{pickle}.*must be safetensors"):
        check_weights(folder)


def test_a_pickle_beside_safetensors_is_ignored(folder):
    (folder / "unet/diffusion_pytorch_model.bin").write_bytes(b"\x80\x04N.")
    check_weights(folder)
    assert not any(name.endswith(".bin") for name in compute_digests(folder))


def test_a_missing_component_is_named(folder):
    (folder / UNET_WEIGHTS).unlink()
    (folder / "unet/config.json").unlink()
    (folder / "unet").rmdir()
    with pytest.raises(WeightsError, match="unet is missing"):
        check_weights(folder)


def test_an_empty_component_is_refused(folder):
    (folder / UNET_WEIGHTS).unlink()
    with pytest.raises(WeightsError, match="no safetensors"):
        check_weights(folder)


def test_shards_are_found_through_their_index(tmp_path):
    index = {"weight_map": {"a": "part-2.safetensors", "b": "part-1.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    names = [path.name for path in component_weights(tmp_path)]
    assert names == ["part-1.safetensors", "part-2.safetensors"]


def test_full_precision_is_preferred_to_the_half_precision_variant(tmp_path):
    for name in ("model.fp16.safetensors", "model.safetensors"):
        write_safetensors(tmp_path / name, {"w": np.ones(1, np.float32)})
    assert [path.name for path in component_weights(tmp_path)] == ["model.safetensors"]
    (tmp_path / "model.safetensors").unlink()
    assert [path.name for path in component_weights(tmp_path)] == ["model.fp16.safetensors"]


def test_untouched_files_pass_verification(folder):
    assert verify_digests(folder) == read_digests(folder)


@pytest.mark.parametrize("name", [UNET_WEIGHTS, "tokenizer/vocab.json", "unet/config.json"])
def test_one_changed_byte_fails_verification(folder, name):
    content = bytearray((folder / name).read_bytes())
    content[-2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(WeightsError, match=f"{name} does not match"):
        verify_digests(folder)


def test_an_added_graph_fails_verification(folder):
    (folder / "unet/model.onnx").write_bytes(b"not what was published")
    with pytest.raises(WeightsError, match=r"unet/model\.onnx is not listed"):
        verify_digests(folder)


def test_a_removed_file_fails_verification(folder):
    (folder / "tokenizer/vocab.json").unlink()
    with pytest.raises(WeightsError, match=r"vocab\.json is listed .* but missing"):
        verify_digests(folder)


@pytest.mark.parametrize(
    "line", ["nonsense", f"{'0' * 63}  short", f"{'0' * 64}  ../out", f"{'0' * 64}  /etc/passwd"]
)
def test_a_malformed_digest_line_is_refused(folder, line):
    (folder / "SHA256SUMS").write_text(f"{line}\n")
    with pytest.raises(WeightsError, match="malformed line"):
        verify_digests(folder)


def test_a_folder_without_digests_is_accepted_with_a_warning(folder, caplog):
    (folder / "SHA256SUMS").unlink()
    digests = verify_digests(folder)
    assert UNET_WEIGHTS in digests
    assert "cannot be verified" in caplog.text


def test_the_revision_follows_the_weights_and_not_graphs_defaults_or_vocabulary(folder):
    before = revision_of(compute_digests(folder))

    (folder / "unet/model.onnx").write_bytes(b"a graph")
    (folder / "mintmark.json").write_text("{}")
    (folder / "vocabulary.json").write_text("{}")
    assert revision_of(compute_digests(folder)) == before

    write_safetensors(folder / UNET_WEIGHTS, {"weight": np.zeros((2, 3), np.float32)})
    assert revision_of(compute_digests(folder)) != before


def test_the_revision_follows_the_noise_schedule(folder):
    before = revision_of(compute_digests(folder))
    edit_json(folder / "scheduler/scheduler_config.json", beta_end=0.02)
    assert revision_of(compute_digests(folder)) != before


def test_the_vocabulary_is_checked_like_every_other_file(folder):
    (folder / "vocabulary.json").write_text("{}")
    with pytest.raises(WeightsError, match=r"vocabulary\.json is not listed"):
        verify_digests(folder)
    write_digests(folder)
    assert "vocabulary.json" in verify_digests(folder)
    (folder / "vocabulary.json").write_text('{"a": "b"}')
    with pytest.raises(WeightsError, match=r"vocabulary\.json does not match"):
        verify_digests(folder)


def test_digests_are_written_in_the_form_of_sha256sum(folder):
    lines = write_digests(folder).read_text().splitlines()
    assert lines == sorted(lines, key=lambda line: line[66:])
    assert all(line[64:66] == "  " for line in lines)
    assert not list(folder.glob("*.partial"))


def test_the_embedded_model_matches_its_digests_and_holds_no_weight_twice():
    digests = verify_digests(EMBEDDED)
    graphs = [EMBEDDED / name for name in digests if name.endswith(".onnx")]
    assert len(graphs) == 4
    assert sum(path.stat().st_size for path in graphs) < 1_000_000
