"""The tokenizer: CLIP's byte-level BPE with merges learnt from our own captions."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers import CLIPTokenizer

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from models.tokenizer import ClipTokenizer

_END_OF_WORD: Final = "</w>"
_SPECIAL: Final = ("<|startoftext|>", "<|endoftext|>")


def write_tokenizer(folder: Path, corpus: Iterable[str], vocab_size: int, window: int) -> None:
    """Learn `vocab_size` tokens from `corpus` and write a tokenizer folder.

    Every byte is a token, alone and at the end of a word, so no text is ever unknown. A corpus with
    too few words for that many tokens gives fewer. window: `model_max_length`. The folder serves
    both tokenizer.json and the older vocab.json with merges.txt.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    base = [*alphabet, *(letter + _END_OF_WORD for letter in alphabet)]
    merges = _learn_merges(corpus, base, vocab_size)
    words = [*base, *dict.fromkeys("".join(pair) for pair in merges), *_SPECIAL]
    vocab = {word: index for index, word in enumerate(words)}
    _make(vocab, merges, window).save_pretrained(str(folder))
    (folder / "vocab.json").write_text(json.dumps(vocab, ensure_ascii=False), encoding="utf-8")
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def encode_texts(tokenizer: ClipTokenizer, texts: Sequence[str]) -> NDArray[np.int64]:
    """Return ids (n, window), as the service makes them."""
    return np.concatenate([tokenizer.encode(text) for text in texts])


def _learn_merges(corpus: Iterable[str], base: list[str], vocab_size: int) -> list[tuple[str, str]]:
    """Return the most useful merges in order, split into words as CLIP splits."""
    clip = _make({word: i for i, word in enumerate([*base, *_SPECIAL])}, [], 8).backend_tokenizer
    learner = Tokenizer(BPE(end_of_word_suffix=_END_OF_WORD))
    learner.normalizer, learner.pre_tokenizer = clip.normalizer, clip.pre_tokenizer
    trainer = BpeTrainer(
        vocab_size=vocab_size - len(_SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        end_of_word_suffix=_END_OF_WORD,
        show_progress=False,
    )
    learner.train_from_iterator(corpus, trainer)
    merges = [tuple(pair) for pair in json.loads(learner.to_str())["model"]["merges"]]
    # The learner counts only the ends of words that it saw, we keep all 256.
    return merges[: vocab_size - len(base) - len(_SPECIAL)]


def _make(vocab: dict[str, int], merges: list[tuple[str, str]], window: int) -> Any:
    """Return transformers' tokenizer around a vocabulary."""
    tokenizer: Any = CLIPTokenizer  # its annotation forbids what its code takes
    return tokenizer(vocab=vocab, merges=merges, model_max_length=window)
