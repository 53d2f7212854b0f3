"""CLIP's tokenizer, equal to transformers' CLIPTokenizer, without transformers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import BPE

from models.weights import WeightsError, read_json

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

# Source: transformers' models/clip/tokenization_clip.py.
_BOS, _EOS = "<|startoftext|>", "<|endoftext|>"
_WORDS = (
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
)


class ClipTokenizer:
    """Turns text into a fixed window of token ids. Thread-safe.

    window: the number of ids of every encoded text, begin and end tokens included.
    """

    def __init__(self, tokenizer: Tokenizer, *, window: int, pad_token: str) -> None:
        self.window = window
        self._tokenizer = tokenizer
        self._bos_id = _token_id(tokenizer, _BOS)
        self._eos_id = _token_id(tokenizer, _EOS)
        # As transformers does, so that a "!" in a text is one token where "!" is the padding.
        tokenizer.add_special_tokens([pad_token])
        self._pad_id = _token_id(tokenizer, pad_token)

    @classmethod
    def from_folder(cls, folder: Path, *, max_window: int) -> ClipTokenizer:
        """Read a `tokenizer` folder: `tokenizer.json`, or `vocab.json` and `merges.txt`.

        max_window: the text encoder's positions, an upper bound for the folder's own
        `model_max_length`. Raises WeightsError if the files are missing or damaged.
        """
        settings = _settings(folder)
        window = settings.get("model_max_length")
        window = min(int(window), max_window) if isinstance(window, int | float) else max_window
        pad_token = settings.get("pad_token") or _EOS
        return cls(_read_tokenizer(folder), window=window, pad_token=_content(pad_token))

    def count(self, text: str) -> int:
        """Return the number of tokens of the whole `text`, without begin and end tokens."""
        return len(self._ids(text))

    def encode(self, text: str) -> NDArray[np.int64]:
        """Return ids (1, window): begin, the text cut to fit, end, and padding."""
        ids = [self._bos_id, *self._ids(text)[: self.window - 2], self._eos_id]
        ids += [self._pad_id] * (self.window - len(ids))
        return np.array([ids], dtype=np.int64)

    def _ids(self, text: str) -> list[int]:
        # A lone surrogate cannot be written in UTF-8, so it becomes a question mark.
        clean = text.encode("utf-8", "replace").decode()
        ids: list[int] = self._tokenizer.encode(clean, add_special_tokens=False).ids
        return ids


def _read_tokenizer(folder: Path) -> Tokenizer:
    """Return the tokenizer of `folder`, with neither truncation nor padding."""
    merges = folder / "merges.txt"
    if (folder / "tokenizer.json").is_file():
        source = folder / "tokenizer.json"
    elif (folder / "vocab.json").is_file() and merges.is_file():
        source = folder / "vocab.json"
    else:
        raise WeightsError(f"{folder} has neither tokenizer.json nor vocab.json and merges.txt.")
    try:
        if source.name == "tokenizer.json":
            tokenizer = Tokenizer.from_file(str(source))
            tokenizer.no_truncation()
            tokenizer.no_padding()
        else:
            tokenizer = _build_tokenizer(BPE.read_file(str(source), str(merges)))
    # The tokenizers library raises bare Exception for every kind of damaged file.
    except Exception as error:
        raise WeightsError(f"{source} cannot be read as a tokenizer: {error}.") from error
    return tokenizer


def _build_tokenizer(vocab_and_merges: tuple[Any, Any]) -> Tokenizer:
    """Return CLIP's pipeline around a vocabulary: NFC, spaces, lower case, words, bytes, BPE."""
    vocab, merges = vocab_and_merges
    tokenizer = Tokenizer(
        BPE(
            vocab=vocab,
            merges=merges,
            continuing_subword_prefix="",
            end_of_word_suffix="</w>",
            unk_token=_EOS,
        )
    )
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.add_special_tokens([_BOS, _EOS])
    return tokenizer


def _settings(folder: Path) -> dict[str, Any]:
    """Return the folder's settings; old folders keep the pad token in a file of its own."""
    settings: dict[str, Any] = {}
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        if (folder / name).is_file():
            settings |= read_json(folder / name)
    return settings


def _content(token: Any) -> str:
    """Return a token's text, which files give as a string or as an object."""
    return str(token["content"]) if isinstance(token, dict) else str(token)


def _token_id(tokenizer: Tokenizer, token: str) -> int:
    """Return the id of a special token."""
    token_id: int | None = tokenizer.token_to_id(token)
    if token_id is None:
        raise WeightsError(f"The tokenizer's vocabulary has no {token!r}.")
    return token_id
