"""The manifest states what happened, vouches for all of it and gives nobody away."""

from __future__ import annotations

import json
from typing import Any

import pytest

from service.domain.request import Original, OutputFormat
from service.provenance.manifest import format_watermark_id, generation_manifest, ingredients
from tests.provenance_kit import SYSTEM, make_facts


@pytest.fixture
def manifest():
    return generation_manifest(make_facts(), OutputFormat.WEBP, SYSTEM)


def assertion(manifest: dict[str, Any], label: str) -> dict[str, Any]:
    return next(item for item in manifest["assertions"] if item["label"] == label)


def test_every_assertion_is_vouched_for(manifest):
    assert all(item["created"] is True for item in manifest["assertions"])


def test_the_picture_was_created_by_a_model_and_then_watermarked(manifest):
    actions = assertion(manifest, "c2pa.actions.v2")["data"]
    assert actions["allActionsIncluded"] is True
    created, watermarked = actions["actions"]
    assert created["action"] == "c2pa.created"
    assert created["digitalSourceType"].endswith("/digitalsourcetype/trainedAlgorithmicMedia")
    assert created["softwareAgent"] == {"name": "Mintmark", "version": "1.2.3"}
    assert created["when"] == "2026-11-24T08:00:00+00:00"
    assert watermarked["action"] == "c2pa.watermarked.unbound"
    assert "digitalSourceType" not in watermarked


def test_the_claim_generator_names_the_specification(manifest):
    assert manifest["claim_generator_info"] == [
        {"name": "Mintmark", "version": "1.2.3", "specVersion": "2.4.0"}
    ]


def test_the_generation_assertion_discloses_provider_system_time_and_id(manifest):
    assert assertion(manifest, "org.mintmark.generation")["data"] == {
        "provider": "Test provider",
        "system": "Mintmark",
        "system_version": "1.2.3",
        "model": "test-model",
        "model_revision": "abc123",
        "created_or_altered": "created",
        "output_id": "out_1",
        "time": "2026-11-24T08:00:00+00:00",
        "watermark": {
            "algorithm": "org.mintmark.spread-spectrum",
            "profile": "sst64",
            "id": "0000beef",
        },
    }


def test_the_title_is_the_output_id(manifest):
    assert manifest["title"] == "out_1.webp"


def test_the_manifest_is_json(manifest):
    assert json.loads(json.dumps(manifest)) == manifest


def test_an_altered_picture_was_opened_and_edited_and_not_created():
    originals = (Original(b"first", "image/png"), Original(b"second", "image/jpeg"))
    facts = make_facts(originals=originals)
    manifest = generation_manifest(facts, OutputFormat.PNG, SYSTEM)
    opened, placed, edited, watermarked = assertion(manifest, "c2pa.actions.v2")["data"]["actions"]
    (parent, first), (component, second) = ingredients(facts)
    assert (opened["action"], placed["action"]) == ("c2pa.opened", "c2pa.placed")
    assert opened["parameters"] == {"ingredientIds": [parent["label"]]}
    assert placed["parameters"] == {"ingredientIds": [component["label"]]}
    assert (parent["relationship"], component["relationship"]) == ("parentOf", "componentOf")
    assert (first, second) == originals
    assert edited["action"] == "c2pa.edited"
    assert edited["digitalSourceType"].endswith("/compositeWithTrainedAlgorithmicMedia")
    assert watermarked["action"] == "c2pa.watermarked.unbound"
    for action in (opened, placed, watermarked):
        assert "digitalSourceType" not in action
    generation = assertion(manifest, "org.mintmark.generation")["data"]
    assert generation["created_or_altered"] == "altered"


def test_a_preview_says_that_it_is_one():
    manifest = generation_manifest(make_facts(is_preview=True), OutputFormat.PNG, SYSTEM)
    generation = assertion(manifest, "org.mintmark.generation")["data"]
    assert generation["preview"] is True
    assert generation["created_or_altered"] == "created"


@pytest.mark.parametrize(
    ("watermark_id", "shown"), [(0, "00000000"), (0xBEEF, "0000beef"), (2**40, "10000000000")]
)
def test_watermark_ids_are_hexadecimal(watermark_id, shown):
    assert format_watermark_id(watermark_id) == shown
