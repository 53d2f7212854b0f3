"""The tokenizer gives the ids of transformers' CLIPTokenizer, whatever the text."""

from __future__ import annotations

import json
import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import CLIPTokenizer
from transformers.utils import logging

from models.tokenizer import ClipTokenizer
from tests.models_kit import EMBEDDED

ODD_TEXTS = [
    "",
    "a cat",
    "A CAT  sat\n\ton ThE mat's 123 don't!!",
    "🐼🐯👨‍👩‍👧‍👦",
    "日本語のテキスト한국어",
    "e\u0301 é ﬁ İSTANBUL ß ẞ",
    "x" * 5000,
    "word " * 500,
    "\x00\x01\x7f\x85\u2028\r\n",
    "\u200b\u00a0\ufeffzero",
    "<|endoftext|> a <|startoftext|>b<|ENDOFTEXT|> <|endoftext|",
    "'re'll'd 1234567 _under_score- </w> a</w>",
]


@pytest.fixture(scope="module", params=["tokenizer.json", "vocab and merges", "own pad token"])
def pair(request, tmp_path_factory):
    """Return (ours, theirs) for the embedded tokenizer in three shapes of folder."""
    logging.set_verbosity_error()
    source = EMBEDDED / "tokenizer"
    folder = tmp_path_factory.mktemp("tokenizer")
    names = ["tokenizer_config.json", "vocab.json", "merges.txt"]
    if request.param == "tokenizer.json":
        names.append("tokenizer.json")
    for name in names:
        shutil.copy(source / name, folder / name)
    if request.param == "own pad token":
        (folder / "special_tokens_map.json").write_text(json.dumps({"pad_token": "!"}))
    theirs = CLIPTokenizer.from_pretrained(str(folder))
    return ClipTokenizer.from_folder(folder, max_window=32), theirs


def assert_equal(pair, text):
    ours, theirs = pair
    expected = theirs(text, padding="max_length", max_length=32, truncation=True).input_ids
    assert ours.encode(text)[0].tolist() == expected
    assert ours.count(text) == len(theirs(text, add_special_tokens=False).input_ids)


@pytest.mark.parametrize("text", ODD_TEXTS, ids=range(len(ODD_TEXTS)))
def test_odd_texts_give_the_same_ids(pair, text):
    assert_equal(pair, text)


@settings(max_examples=150, deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=80))
def test_any_text_gives_the_same_ids(pair, text):
    assert_equal(pair, text)
