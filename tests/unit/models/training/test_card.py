"""The card of a release: what callers are told, and what the service finds unknown words with."""

from __future__ import annotations

import json

import numpy as np
import pytest

from models.facts import ModelFacts
from models.training.captions import Scene, draw_caption
from models.training.card import describe_denoiser, describe_few_step, make_facts
from models.training.vocabulary import BACKGROUNDS, COLOURS
from models.vocabulary_match import Vocabulary
from tests.unit.models.training.networks import ART, RECIPE


@pytest.fixture(scope="module")
def card():
    facts = make_facts(describe_denoiser(RECIPE), RECIPE, ART, 1234)
    return ModelFacts.model_validate(json.loads(json.dumps(facts))).card


def test_no_training_caption_is_warned_about(card):
    vocabulary = Vocabulary.from_card(card)
    assert vocabulary is not None
    rng = np.random.default_rng(5)
    for number in range(500):
        subject = ART.subjects[number % len(ART.subjects)]
        style = ART.styles[number % len(ART.styles)]
        background = BACKGROUNDS[number % len(BACKGROUNDS)]
        colour = COLOURS[number % len(COLOURS)] if number % 3 else None
        second = ART.subjects[-1] if number % 5 == 0 else None
        scene = Scene(subject, style, background, colour, second)
        caption = draw_caption(rng, scene, synonym_share=0.5)
        assert vocabulary.find_warnings(caption) == (), caption


def test_synonyms_are_listed_under_their_names(card):
    with_synonyms = [subject for subject in ART.subjects if subject.synonyms]
    for subject in with_synonyms:
        assert card["synonyms"][subject.name] == list(subject.synonyms)
    assert card["synonyms"]["flat"] == ["vector"]
    assert card["synonyms"]["gray"] == ["grey"]


def test_the_card_says_what_it_was_made_from_and_where_it_ends(card):
    assert card["license"] == "Apache-2.0"
    assert card["parameters"] == 1234
    assert all(source["license"] for source in card["training_data"])
    assert any("32x32" in sentence for sentence in card["limits"])
    assert card["stop_words"] == []


def test_the_siblings_differ_in_name_and_sampling_only():
    first, second = (
        make_facts(describe(RECIPE), RECIPE, ART, 1)
        for describe in (describe_denoiser, describe_few_step)
    )
    assert second["model_id"] == f"{first['model_id']}-2step"
    assert second["defaults"]["guidance_scale"] == 1.0
    assert second["card"] | {"description": ""} == first["card"] | {"description": ""}
