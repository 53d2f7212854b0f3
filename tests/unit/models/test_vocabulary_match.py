from __future__ import annotations

import json

import pytest

from models.vocabulary_match import MAX_WARNINGS, Vocabulary, read_vocabulary, write_nearest
from models.weights import WeightsError

CARD = {
    "subjects": ["airplane", "cat", "elephant", "ice cream", "cherry", "knife", "star", "bus"],
    "styles": ["flat", "3d"],
    "backgrounds": ["white", "sky blue"],
    "object_colours": ["red", "purple"],
    "synonyms": {"airplane": ["plane"], "cat": ["kitten"], "star": ["jack-o'-lantern star"]},
    "stop_words": ["shaded"],
}
NEAREST = {
    "airship": "airplane",
    "frozen yogurt": "ice cream",
    "start": None,
    "wolf": "cat",
}


def read(card):
    vocabulary = Vocabulary.from_card(card)
    assert vocabulary is not None
    return vocabulary


@pytest.fixture
def vocabulary():
    return read(CARD)


@pytest.fixture
def folder(tmp_path):
    write_nearest(tmp_path, NEAREST)
    return tmp_path


@pytest.fixture
def informed(folder):
    vocabulary = read_vocabulary(folder, CARD)
    assert vocabulary is not None
    return vocabulary


@pytest.mark.parametrize(
    "prompt",
    [
        "a cat",
        "A red CAT, flat style, on a sky blue background",
        "Kittens? The cat's!",
        "ice creams and cherries, shaded",
        "knives, buses",
        "draw me a picture of a plane",
        "jack-o'-lantern star",
        "",
        "!!! ...",
    ],
)
def test_known_words_give_no_warning(vocabulary, prompt):
    assert vocabulary.unknown_phrases(prompt) == []


@pytest.mark.parametrize(
    ("prompt", "phrase", "nearest"),
    [
        ("an airship on a white background", "airship", "airplane"),
        ("AIRSHIPS", "airships", "airplane"),
        ("a wolf's tail", "wolf's tail", "cat"),
        ("a big airship", "big airship", "airplane"),
        ("an airship flying low", "airship flying low", "airplane"),
        ("frozen yogurt", "frozen yogurt", "ice cream"),
        ("an airship wolf", "airship wolf", "cat"),
    ],
)
def test_the_nearest_known_thing_is_looked_up(informed, prompt, phrase, nearest):
    assert informed.find_warnings(prompt) == (f"not drawn: '{phrase}'; nearest known: '{nearest}'",)


def test_a_word_far_from_everything_has_no_nearest(informed):
    assert informed.find_warnings("gobbledygook") == ("not drawn: 'gobbledygook'",)


def test_a_word_of_the_language_is_no_misspelling(vocabulary, informed):
    assert vocabulary.find_warnings("start") == ("not drawn: 'start'; nearest known: 'star'",)
    assert informed.find_warnings("start") == ("not drawn: 'start'",)


@pytest.mark.parametrize("is_informed", [True, False])
def test_a_misspelt_word_finds_what_was_meant(vocabulary, informed, is_informed):
    chosen = informed if is_informed else vocabulary
    assert chosen.find_warnings("a grey elefant") == (
        "not drawn: 'grey elefant'; nearest known: 'elephant'",
    )


def test_without_a_list_only_spelling_counts(vocabulary):
    assert vocabulary.find_warnings("an airship") == ("not drawn: 'airship'",)


def test_a_similar_word_with_another_first_letter_is_no_misspelling():
    vocabulary = read({"subjects": ["house"]})
    assert vocabulary.find_warnings("a mouse") == ("not drawn: 'mouse'",)


def test_half_a_known_phrase_is_not_known(vocabulary):
    assert vocabulary.unknown_phrases("cream on ice") == ["cream", "ice"]


def test_the_longest_known_phrase_wins():
    vocabulary = read({"subjects": ["ice", "ice cream truck", "ice cream"]})
    assert vocabulary.unknown_phrases("ice cream truck, ice cream, ice, ice truck") == ["truck"]


def test_each_phrase_is_reported_once_and_in_order(vocabulary):
    assert vocabulary.unknown_phrases("wolf, zeppelin cat and a wolf") == ["wolf zeppelin", "wolf"]
    assert vocabulary.unknown_phrases("a wolf and a wolf") == ["wolf"]


def test_an_endless_prompt_gives_few_and_short_warnings(vocabulary):
    prompt = " and ".join(f"{'x' * 500}{number}" for number in range(100))
    warnings = vocabulary.find_warnings(prompt)
    assert 0 < len(warnings) <= MAX_WARNINGS
    assert max(map(len, warnings)) < 100


def test_a_warning_repeats_words_only(vocabulary):
    (warning,) = vocabulary.find_warnings('<script>\r\n"zeppelin";--\'')
    assert warning == "not drawn: 'script zeppelin'"


def test_full_width_letters_are_the_same_letters(vocabulary):
    assert vocabulary.unknown_phrases("ｃａｔ") == []


def test_a_card_without_subjects_says_nothing():
    assert Vocabulary.from_card({"description": "anything"}) is None


@pytest.mark.parametrize(
    "change",
    [{"subjects": "cat"}, {"styles": [3]}, {"synonyms": ["cat"]}, {"synonyms": {"cat": "kitten"}}],
)
def test_a_malformed_card_is_refused(change):
    with pytest.raises(WeightsError, match=next(iter(change))):
        Vocabulary.from_card(CARD | change)


def test_the_list_survives_the_disk_with_a_word_to_a_line(folder, informed):
    assert informed.nearest == NEAREST
    lines = (folder / "vocabulary.json").read_text().splitlines()
    assert '"airship": "airplane",' in lines
    assert len(lines) == len(NEAREST) + 2


def test_a_folder_without_a_list_knows_its_card(tmp_path):
    assert read_vocabulary(tmp_path, CARD) == read(CARD)


def test_a_list_beside_a_card_without_subjects_is_not_read(tmp_path):
    (tmp_path / "vocabulary.json").write_text("someone else's")
    assert read_vocabulary(tmp_path, {}) is None


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        json.dumps({"airship": "zeppelin"}),  # not on the card
        json.dumps({"airship": 3}),
        json.dumps({"airship": ["airplane"]}),
    ],
)
def test_a_damaged_list_is_refused(tmp_path, content):
    (tmp_path / "vocabulary.json").write_text(content)
    with pytest.raises(WeightsError, match=r"vocabulary\.json"):
        read_vocabulary(tmp_path, CARD)
