"""Tiny networks of the smoke recipe, and what they are trained on, for tests of the tasks."""

from __future__ import annotations

import torch

from models.tokenizer import ClipTokenizer
from models.training.autoencoder import build_autoencoder
from models.training.denoiser import Gallery, build_unet
from models.training.latents import LatentBank
from models.training.recipe import SMOKE_RECIPE_FILE, load_recipe
from models.training.sampler import BatchSampler
from models.training.text import build_text_encoder
from models.training.tokens import encode_texts, write_tokenizer
from tests.unit.models.training.shapes import SIDE_PX, shapes_art

RECIPE = load_recipe(SMOKE_RECIPE_FILE)
ART = shapes_art()


def make_sampler(seed=1):
    return BatchSampler(ART, SIDE_PX, "cpu", seed, RECIPE.data)


def make_autoencoder():
    torch.manual_seed(0)
    return build_autoencoder(RECIPE.autoencoder, SIDE_PX).eval()


def make_unet():
    torch.manual_seed(0)
    return build_unet(RECIPE)


def make_tokenizer(folder):
    words = [*make_sampler().sample(64).captions, "flat", "background"]
    write_tokenizer(folder, words, RECIPE.text.vocab_size, RECIPE.text.window)
    return ClipTokenizer.from_folder(folder, max_window=RECIPE.text.window)


def make_encoder(tokenizer):
    torch.manual_seed(0)
    # The end token is the last one, and fills up every text.
    return build_text_encoder(RECIPE.text, int(tokenizer.encode("")[0, -1]) + 1)


def make_bank(tokenizer, *, size=24, steps=3, seed=1, cache=None):
    return LatentBank(make_autoencoder(), make_sampler(seed), tokenizer, size, steps, cache)


def make_gallery(tokenizer, count=2):
    ids = torch.from_numpy(encode_texts(tokenizer, ["a red apple"] * count))
    empty = torch.from_numpy(encode_texts(tokenizer, [""]))
    side = SIDE_PX // RECIPE.autoencoder.factor
    noise = torch.randn(count, 4, side, side, generator=torch.Generator().manual_seed(0))
    return Gallery(make_autoencoder(), ids, empty, noise)
