from __future__ import annotations

import zipfile

import numpy as np
import pytest

from models.families.toy import ToyModel
from models.vocabulary_match import (
    MAX_WARNINGS,
    EmbeddingTable,
    Vocabulary,
    find_warnings,
    text_embedder,
)
from models.weights import WeightsError

CARD = {
    "subjects": ["airplane", "cat", "elephant", "ice cream", "cherry", "knife", "star", "bus"],
    "styles": ["flat", "3d"],
    "backgrounds": ["white", "sky blue"],
    "object_colours": ["red", "purple"],
    "synonyms": {"airplane": ["plane"], "cat": ["kitten"], "star": ["jack-o'-lantern star"]},
    "stop_words": ["shaded"],
}
# Where a text encoder might put these words: flying things along x, animals along y, sweets along
# z, and the rest in the fourth direction. All share an offset, as real encoders' vectors do.
PLACES = {
    "airplane": (1, 0, 0, 0),
    "plane": (1, 0.1, 0, 0),
    "zeppelin": (0.9, 0, 0.1, 0),
    "cat": (0, 1, 0, 0),
    "kitten": (0, 1, 0.1, 0),
    "elephant": (0.1, 0.9, 0, 0),
    "ice cream": (0, 0, 1, 0),
    "cherry": (0, 0.1, 0.9, 0),
    "gobbledygook": (-1, -1, -1, 0.3),
}


def embed(text):
    return np.array(PLACES.get(text, (0, 0, 0, 1)), np.float32) + 5


def read(card):
    vocabulary = Vocabulary.from_card(card)
    assert vocabulary is not None
    return vocabulary


@pytest.fixture
def vocabulary():
    return read(CARD)


@pytest.fixture
def table(vocabulary):
    return EmbeddingTable.build(vocabulary, embed)


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


def test_the_nearest_known_thing_is_named_by_meaning(vocabulary, table):
    assert find_warnings(vocabulary, "a zeppelin on a white background", table, embed) == (
        "not drawn: 'zeppelin'; nearest known: 'airplane'",
    )


def test_a_synonym_is_reported_under_its_subject(vocabulary):
    table = EmbeddingTable(("plane", "cat"), np.stack([embed("plane"), embed("cat")]))
    (warning,) = find_warnings(vocabulary, "zeppelin", table, embed)
    assert warning.endswith("nearest known: 'airplane'")


def test_a_word_far_from_everything_has_no_nearest(vocabulary, table):
    assert find_warnings(vocabulary, "gobbledygook", table, embed) == ("not drawn: 'gobbledygook'",)


@pytest.mark.parametrize("with_table", [True, False])
def test_a_misspelt_word_finds_its_spelling_first(vocabulary, table, with_table):
    tools = (table, embed) if with_table else (None, None)
    assert find_warnings(vocabulary, "a grey elefant", *tools) == (
        "not drawn: 'grey elefant'; nearest known: 'elephant'",
    )


def test_without_a_table_only_spelling_counts(vocabulary):
    assert find_warnings(vocabulary, "a zeppelin") == ("not drawn: 'zeppelin'",)


def test_a_similar_word_with_another_first_letter_is_no_misspelling():
    vocabulary = read({"subjects": ["house"]})
    assert find_warnings(vocabulary, "a mouse") == ("not drawn: 'mouse'",)


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
    warnings = find_warnings(vocabulary, prompt)
    assert 0 < len(warnings) <= MAX_WARNINGS
    assert max(map(len, warnings)) < 100


def test_a_warning_repeats_words_only(vocabulary):
    (warning,) = find_warnings(vocabulary, '<script>\r\n"zeppelin";--\'')
    assert warning == "not drawn: 'script zeppelin'"


def test_full_width_letters_are_the_same_letters(vocabulary):
    assert vocabulary.unknown_phrases("ｃａｔ") == []


def test_the_text_encoder_is_read_at_the_end_of_the_text():
    model = ToyModel()
    vectors = [text_embedder(model)(text) for text in ("a cat", "a dog", "word " * 100)]
    embeds = [model.encode_prompt(text)[0] for text in ("a cat", "a dog", "word " * 100)]
    np.testing.assert_array_equal(vectors[0], embeds[0][model.count_tokens("a cat") + 1])
    np.testing.assert_array_equal(vectors[2], embeds[2][-1])


def test_a_card_without_subjects_says_nothing():
    assert Vocabulary.from_card({"description": "anything"}) is None


@pytest.mark.parametrize(
    "change",
    [{"subjects": "cat"}, {"styles": [3]}, {"synonyms": ["cat"]}, {"synonyms": {"cat": "kitten"}}],
)
def test_a_malformed_card_is_refused(change):
    with pytest.raises(WeightsError, match=next(iter(change))):
        Vocabulary.from_card(CARD | change)


def test_a_table_survives_the_disk_in_equal_bytes(vocabulary, table, tmp_path):
    paths = [tmp_path / "one.npz", tmp_path / "two.npz"]
    for path in paths:
        table.save(path)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert sorted(tmp_path.iterdir()) == paths
    loaded = EmbeddingTable.load(paths[0])
    assert loaded.phrases == table.phrases
    np.testing.assert_allclose(loaded.vectors, table.vectors, atol=0.01)


def make_missing(path):
    path.unlink(missing_ok=True)


def make_garbage(path):
    path.write_bytes(b"PK\x03\x04 not a zip")


def make_incomplete(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("other.npy", b"")


def make_pickle(path):
    np.savez(path, phrases=np.array([{"a": 1}], object), vectors=np.ones((1, 2)))


def make_contradiction(path):
    np.savez(path, phrases=np.array(["cat"]), vectors=np.ones((2, 2)))


def make_infinite(path):
    np.savez(path, phrases=np.array(["cat"]), vectors=np.full((1, 2), np.inf))


@pytest.mark.parametrize(
    "damage",
    [make_missing, make_garbage, make_incomplete, make_pickle, make_contradiction, make_infinite],
)
def test_a_damaged_table_is_refused(tmp_path, damage):
    path = tmp_path / "vocabulary.npz"
    damage(path)
    with pytest.raises(WeightsError, match=r"vocabulary\.npz"):
        EmbeddingTable.load(path)
