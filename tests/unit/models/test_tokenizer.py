"""The tokenizer: a fixed window of ids, from either kind of folder."""

from __future__ import annotations

import json
import shutil

import pytest

from models.tokenizer import ClipTokenizer
from models.weights import WeightsError
from tests.models_kit import EMBEDDED

BOS, EOS = 3198, 3199


@pytest.fixture(scope="module")
def tokenizer():
    return ClipTokenizer.from_folder(EMBEDDED / "tokenizer", max_window=32)


@pytest.fixture
def old_folder(tmp_path):
    for name in ("vocab.json", "merges.txt"):
        shutil.copy(EMBEDDED / "tokenizer" / name, tmp_path / name)
    return tmp_path


def test_a_short_text_is_framed_and_padded(tokenizer):
    ids = tokenizer.encode("a cat")
    assert ids.shape == (1, 32)
    assert ids.dtype.name == "int64"
    assert ids[0, 0] == BOS
    assert tokenizer.count("a cat") == 2
    assert set(ids[0, 3:]) == {EOS}


def test_an_empty_text_is_the_frame_alone(tokenizer):
    assert tokenizer.encode("")[0].tolist() == [BOS, *[EOS] * 31]
    assert tokenizer.count("") == 0


def test_a_long_text_is_cut_and_still_counted_in_full(tokenizer):
    ids = tokenizer.encode("cat " * 100)
    assert ids.shape == (1, 32)
    assert ids[0, -1] == EOS
    assert EOS not in ids[0, :-1]
    assert tokenizer.count("cat " * 100) == 100


def test_case_and_spaces_make_no_difference(tokenizer):
    assert (tokenizer.encode(" A\n\tCAT ") == tokenizer.encode("a cat")).all()


def test_a_lone_surrogate_counts_as_a_question_mark(tokenizer):
    assert (tokenizer.encode("\ud800 cat") == tokenizer.encode("? cat")).all()
    assert tokenizer.count("\udfff") == tokenizer.count("?")


def test_old_folders_give_the_same_ids(tokenizer, old_folder):
    old = ClipTokenizer.from_folder(old_folder, max_window=32)
    for text in ("a cat, 3d style!", "", "don't 42", "naïve 日本 🐼", "cat " * 60):
        assert (old.encode(text) == tokenizer.encode(text)).all()


def test_the_pad_token_is_the_folders_own(old_folder):
    (old_folder / "special_tokens_map.json").write_text(json.dumps({"pad_token": "!"}))
    ids = ClipTokenizer.from_folder(old_folder, max_window=8).encode("cat")
    assert ids[0, 2:].tolist() == [EOS, 0, 0, 0, 0, 0]


@pytest.mark.parametrize(("own", "window"), [(16, 16), (10**30, 32), (None, 32)])
def test_the_window_is_the_smaller_of_tokenizer_and_text_encoder(old_folder, own, window):
    (old_folder / "tokenizer_config.json").write_text(json.dumps({"model_max_length": own}))
    assert ClipTokenizer.from_folder(old_folder, max_window=32).window == window


def test_a_folder_without_vocabulary_is_refused(tmp_path):
    with pytest.raises(WeightsError, match=r"neither tokenizer\.json nor vocab\.json"):
        ClipTokenizer.from_folder(tmp_path, max_window=77)


def test_a_damaged_tokenizer_file_is_refused(tmp_path):
    (tmp_path / "tokenizer.json").write_text('{"model": 3}')
    with pytest.raises(WeightsError, match="cannot be read as a tokenizer"):
        ClipTokenizer.from_folder(tmp_path, max_window=77)


def test_damaged_settings_are_refused(old_folder):
    (old_folder / "tokenizer_config.json").write_text("[]")
    with pytest.raises(WeightsError, match="must hold a JSON object"):
        ClipTokenizer.from_folder(old_folder, max_window=77)
