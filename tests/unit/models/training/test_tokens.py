"""The tokenizer that is learnt from captions."""

from __future__ import annotations

import json

import numpy as np
import pytest
from transformers import CLIPTokenizer

from models.tokenizer import ClipTokenizer
from models.training.tokens import encode_texts, write_tokenizer

CORPUS = ["a red apple, flat style, on a white background", "a blue car, flat style"] * 9
SIZE, WINDOW = 560, 16


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokens") / "tokenizer"
    write_tokenizer(folder, CORPUS, SIZE, WINDOW)
    return folder


@pytest.fixture(scope="module")
def tokenizer(folder):
    return ClipTokenizer.from_folder(folder, max_window=77)


def test_words_of_the_captions_become_one_token(tokenizer):
    assert tokenizer.count("apple background flat style") == 4
    assert tokenizer.count("zq") == 2


def test_begin_and_end_are_the_last_two_tokens(folder, tokenizer):
    vocab = json.loads((folder / "vocab.json").read_text())
    assert sorted(vocab.values()) == list(range(len(vocab)))
    assert len(vocab) <= SIZE
    ids = tokenizer.encode("a car")
    assert ids.shape == (1, WINDOW)
    assert ids[0, 0] == len(vocab) - 2
    assert set(ids[0, 3:]) == {len(vocab) - 1}


@pytest.mark.parametrize("text", ["a red apple", "Ünbekannt 42!", "", "車 🚀", "a\n  car's"])
def test_transformers_and_the_older_files_agree(folder, tokenizer, tmp_path, text):
    theirs = CLIPTokenizer.from_pretrained(str(folder))
    expected = theirs(text, padding="max_length", truncation=True, return_tensors="np")["input_ids"]
    assert np.array_equal(tokenizer.encode(text), expected)
    for name in ("vocab.json", "merges.txt", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    older = ClipTokenizer.from_folder(tmp_path, max_window=77)
    assert np.array_equal(tokenizer.encode(text), older.encode(text))


def test_a_batch_is_what_the_service_encodes(tokenizer):
    ids = encode_texts(tokenizer, ["a car", "an apple"])
    assert np.array_equal(ids[1:], tokenizer.encode("an apple"))


def test_a_corpus_of_few_words_gives_fewer_tokens(tmp_path):
    write_tokenizer(tmp_path, ["aa"], SIZE, WINDOW)
    assert len(json.loads((tmp_path / "vocab.json").read_text())) == 515
