"""Edited pictures name what they were made from, whatever state that is in, and read Trusted."""

from __future__ import annotations

import json
import socket
from contextlib import closing
from dataclasses import replace
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from c2pa import Context, Reader

from service.domain.request import Original, OutputFormat, OutputOptions
from service.provenance.encode import encode_pixels
from service.provenance.pipeline import MarkingPipeline
from service.provenance.signer import C2paSigner
from tests.fakes import FakeWatermarker, flat_pixels
from tests.provenance_kit import (
    SYSTEM,
    actions,
    library_signed,
    make_facts,
    make_image,
    make_material,
    make_request,
    make_verifier,
    picture_bytes,
    without_metadata,
)

FORMATS = list(OutputFormat)
CAPTURE = {
    "action": "c2pa.created",
    "digitalSourceType": "http://cv.iptc.org/newscodes/digitalsourcetype/digitalCapture",
}


@pytest.fixture(scope="module")
def signer(material):
    with closing(C2paSigner(material, SYSTEM)) as signer:
        yield signer


def read(content: bytes, anchors_pem: str) -> Any:
    """Read as any other program would: the library, the anchors, nothing of ours."""
    settings = {"trust": {"trust_anchors": anchors_pem}, "verify": {"ocsp_fetch": False}}
    with (
        Context.from_dict(settings) as context,
        Reader("image/png", BytesIO(content), context=context) as reader,
    ):
        return json.loads(reader.json())


def sign(signer: C2paSigner, *originals: Original) -> bytes:
    content = encode_pixels(flat_pixels(value=60), OutputOptions())
    facts = make_facts(originals=originals)
    signed: bytes = signer.sign(content, OutputFormat.PNG, facts).content
    return signed


def own(signer: C2paSigner, fmt: OutputFormat) -> bytes:
    content = encode_pixels(flat_pixels(), OutputOptions(fmt))
    signed: bytes = signer.sign(content, fmt, make_facts()).content
    return signed


def active(store: Any) -> Any:
    return store["manifests"][store["active_manifest"]]


def assert_trusted(store: Any) -> None:
    assert store["validation_state"] == "Trusted"
    assert store["validation_results"]["activeManifest"]["failure"] == []


@pytest.mark.parametrize("fmt", FORMATS)
def test_a_parent_with_credentials_is_kept_with_them(signer, material, fmt):
    parent = own(signer, fmt)
    store = read(sign(signer, Original(parent, fmt.mime_type)), material.anchors_pem)
    assert_trusted(store)
    (ingredient,) = active(store)["ingredients"]
    assert ingredient["relationship"] == "parentOf"
    assert ingredient["format"] == fmt.mime_type
    assert ingredient["active_manifest"] in store["manifests"]
    assert ingredient["active_manifest"] != store["active_manifest"]
    assert ingredient["validation_results"]["activeManifest"]["failure"] == []
    assert "thumbnail" not in ingredient


@pytest.mark.parametrize("fmt", FORMATS)
def test_a_parent_without_credentials_is_named_without_them(signer, material, fmt):
    store = read(sign(signer, Original(picture_bytes(fmt), fmt.mime_type)), material.anchors_pem)
    assert_trusted(store)
    (ingredient,) = active(store)["ingredients"]
    assert ingredient["relationship"] == "parentOf"
    assert "active_manifest" not in ingredient


@pytest.mark.parametrize("fmt", FORMATS)
def test_a_parent_that_was_tampered_with_is_kept_as_broken(signer, material, fmt):
    original = Original(own(signer, fmt) + b"x", fmt.mime_type)
    store = read(sign(signer, original), material.anchors_pem)
    assert_trusted(store)
    (ingredient,) = active(store)["ingredients"]
    failures = ingredient["validation_results"]["activeManifest"]["failure"]
    assert [item["code"] for item in failures] == ["assertion.dataHash.mismatch"]


@pytest.mark.parametrize("fmt", FORMATS)
def test_no_damage_to_a_parent_hinders_the_edit(signer, fmt):
    parent = own(signer, fmt)
    draw = np.random.default_rng(len(parent))
    for _ in range(40):  # about a third of these the library itself refuses as ingredients
        damaged = bytearray(parent)
        damaged[int(draw.integers(20, len(parent)))] ^= 0xFF
        assert sign(signer, Original(bytes(damaged), fmt.mime_type))


def test_credentials_that_cannot_be_read_are_recorded_as_a_failure(signer, material, verifier):
    parent = bytearray(own(signer, OutputFormat.PNG))
    parent[parent.find(b"jumb") + 60] ^= 0xFF
    signed = sign(signer, Original(bytes(parent), "image/png"))
    store = read(signed, material.anchors_pem)
    assert_trusted(store)
    (ingredient,) = active(store)["ingredients"]
    (failure,) = ingredient["validation_results"]["activeManifest"]["failure"]
    assert failure["code"] == "general.error"
    (found,) = verifier.verify(signed).c2pa.ingredients
    assert (found.relationship, found.state) == ("parentOf", "Invalid")


def test_credentials_beyond_any_reason_are_not_carried_on(signer, material):
    bulk = {"label": "com.example.bulk", "created": True, "data": {"noise": "x" * 900_000}}
    opened = {"action": "c2pa.opened", "parameters": {"ingredientIds": ["parent"]}}
    upload = library_signed(material, [actions(CAPTURE), bulk])
    for _ in range(2):  # each keeps its parent's
        upload = library_signed(material, [actions(opened), bulk], parent=upload)
    assert len(upload) > 2_500_000
    signed = sign(signer, Original(upload, "image/png"))
    assert len(signed) < 20_000
    assert_trusted(read(signed, material.anchors_pem))


def test_further_inputs_are_components(signer, material):
    first = Original(own(signer, OutputFormat.WEBP), "image/webp")
    second = Original(picture_bytes(OutputFormat.JPEG), "image/jpeg")
    store = read(sign(signer, first, second), material.anchors_pem)
    assert_trusted(store)
    found = {item["format"]: item["relationship"] for item in active(store)["ingredients"]}
    assert found == {"image/webp": "parentOf", "image/jpeg": "componentOf"}


def test_a_broken_component_does_not_cost_the_parent_its_credentials(signer, material):
    good = own(signer, OutputFormat.PNG)
    broken = bytearray(good)
    broken[broken.find(b"jumb") + 60] ^= 0xFF
    originals = (Original(good, "image/png"), Original(bytes(broken), "image/png"))
    store = read(sign(signer, *originals), material.anchors_pem)
    assert_trusted(store)
    parent = next(
        item for item in active(store)["ingredients"] if item["relationship"] == "parentOf"
    )
    assert parent["active_manifest"] in store["manifests"]


def test_a_parent_of_a_stranger_stays_a_strangers(signer, material, tmp_path):
    stranger = make_material(tmp_path, "Somebody else")
    parent = library_signed(stranger, [actions(CAPTURE)])
    store = read(sign(signer, Original(parent, "image/png")), material.anchors_pem)
    assert_trusted(store)
    (ingredient,) = active(store)["ingredients"]
    failures = ingredient["validation_results"]["activeManifest"]["failure"]
    assert [item["code"] for item in failures] == ["signingCredential.untrusted"]


def test_nobody_is_called_for_a_parent_whose_credentials_are_elsewhere(signer, material):
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        url = f"http://127.0.0.1:{server.getsockname()[1]}/manifest.c2pa"
        parent = library_signed(material, [actions(CAPTURE)], remote_url=url)
        signed = sign(signer, Original(parent, "image/png"))
        with pytest.raises(TimeoutError):
            server.accept()
    assert_trusted(read(signed, material.anchors_pem))


@pytest.fixture(scope="module")
def edited(pipeline):
    parent = pipeline.mark(make_image(), make_request())
    originals = (Original(parent.content, "image/png"),)
    child = pipeline.mark(
        make_image(flat_pixels(value=50)), replace(make_request(), originals=originals)
    )
    return parent, child


def test_the_report_of_an_edit_says_what_was_done_to_what(verifier, edited):
    parent, child = edited
    report = verifier.verify(child.content)
    assert (report.verdict, report.confidence) == ("ai_generated_by_us", "proof")
    assert report.c2pa.actions == ("c2pa.opened", "c2pa.edited", "c2pa.watermarked.unbound")
    assert report.c2pa.digital_source_type.endswith("/compositeWithTrainedAlgorithmicMedia")
    assert report.c2pa.generation.created_or_altered == "altered"
    (ingredient,) = report.c2pa.ingredients
    assert (ingredient.relationship, ingredient.state) == ("parentOf", "Trusted")
    assert ingredient.manifest_id == parent.manifest_id
    assert any("editing another picture" in note for note in report.notes)


def test_an_edit_without_its_credentials_is_still_known_as_one(verifier, edited):
    _, child = edited
    report = verifier.verify(without_metadata(child.content))
    assert report.verdict == "ai_generated_by_us_altered"
    assert any("editing another picture" in note for note in report.notes)


def test_an_edit_of_a_broken_picture_is_ours_and_says_so(pipeline, verifier, edited):
    parent, _ = edited
    originals = (Original(parent.content + b"x", "image/png"),)
    child = pipeline.mark(make_image(), replace(make_request(), originals=originals))
    report = verifier.verify(child.content)
    assert (report.verdict, report.confidence) == ("ai_generated_by_us", "proof")
    assert any("credentials that do not verify" in note for note in report.notes)


def test_edits_of_edits_grow_by_one_manifest_each(signer, material):
    content = own(signer, OutputFormat.PNG)
    sizes = [len(content)]
    for _ in range(3):
        content = sign(signer, Original(content, "image/png"))
        sizes.append(len(content))
    assert_trusted(read(content, material.anchors_pem))
    growth = np.diff(sizes)
    assert (growth < 8 * 1024).all()


def test_a_preview_is_signed_marked_and_recorded_as_one(pipeline, verifier, ledger):
    shown = pipeline.mark(make_image(), replace(make_request(), is_preview=True))
    report = verifier.verify(shown.content)
    assert (report.verdict, report.confidence) == ("ai_generated_by_us", "proof")
    assert report.c2pa.generation.preview is True
    assert any("before it was finished" in note for note in report.notes)
    assert ledger.find_by_output(shown.output_id).kind == "preview"


def test_offline_the_manifest_alone_says_that_it_is_an_edit(material, edited, tmp_path):
    _, child = edited
    with closing(make_verifier(material)) as offline:
        report = offline.verify(child.content)
    assert any("editing another picture" in note for note in report.notes)


def test_pictures_of_all_formats_can_be_edited_into_all_formats(material, ledger):
    with closing(C2paSigner(material, SYSTEM)) as signer:
        pipeline = MarkingPipeline(FakeWatermarker(), signer, ledger)
        for fmt in FORMATS:
            original = Original(picture_bytes(OutputFormat.JPEG), "image/jpeg")
            request = replace(make_request(fmt), originals=(original,))
            assert pipeline.mark(make_image(), request).format is fmt
