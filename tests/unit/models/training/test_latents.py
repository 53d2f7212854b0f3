"""The bank of latents: what a training step draws does not depend on interruptions."""

from __future__ import annotations

import pytest
import torch

from models.training.autoencoder import encode_mean
from models.training.errors import TrainingError
from models.training.latents import FillingCache
from tests.unit.models.training.networks import (
    RECIPE,
    make_autoencoder,
    make_bank,
    make_sampler,
    make_tokenizer,
)

STEPS = 3


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return make_tokenizer(tmp_path_factory.mktemp("tokens") / "tokenizer")


def draw(bank, generator, step):
    return bank.draw(5, step, generator)


def generator():
    return torch.Generator().manual_seed(3)


def test_it_holds_encoded_pictures_with_their_captions(tokenizer):
    latents, ids = draw(make_bank(tokenizer, size=4), generator(), 0)
    batch = make_sampler(1).sample(4)
    with torch.no_grad():
        expected = encode_mean(make_autoencoder(), batch.pixels)
    known = {tuple(tokenizer.encode(text)[0]): row for row, text in enumerate(batch.captions)}
    for drawn, tokens in zip(latents, ids, strict=True):
        assert torch.allclose(drawn, expected[known[tuple(tokens.tolist())]], atol=0.05)
    assert ids.shape == (5, RECIPE.text.window)
    assert latents.dtype == torch.float32


def test_it_is_filled_anew_after_so_many_steps(tokenizer):
    bank, same = make_bank(tokenizer), generator()
    fillings = {draw(bank, same, step)[0].sum().item() for step in range(2 * STEPS)}
    assert len(fillings) == 2 * STEPS
    first, second = (draw(make_bank(tokenizer), generator(), 0)[0] for _ in range(2))
    assert torch.equal(first, second)
    bank = make_bank(tokenizer)
    before = draw(bank, generator(), STEPS - 1)[0]
    assert not torch.equal(before, draw(bank, generator(), STEPS)[0])


@pytest.mark.parametrize("stop_after", [1, STEPS, STEPS + 1])
@pytest.mark.parametrize("has_cache", [True, False])
def test_a_resumed_run_draws_the_same(tokenizer, tmp_path, stop_after, has_cache):
    cache = FillingCache(tmp_path / "latents.pt", "vae") if has_cache else None
    bank, draws = make_bank(tokenizer, cache=cache), generator()
    for step in range(stop_after):
        draw(bank, draws, step)
    resumed = make_bank(tokenizer, seed=99, cache=cache)
    resumed.load_state_dict(bank.state_dict())
    others = torch.Generator()
    others.set_state(draws.get_state())
    for step in range(stop_after, 3 * STEPS):
        ours, theirs = draw(bank, draws, step), draw(resumed, others, step)
        assert all(map(torch.equal, ours, theirs))


def test_a_kept_filling_is_not_encoded_again(tokenizer, tmp_path):
    cache = FillingCache(tmp_path / "latents.pt", "vae")
    bank = make_bank(tokenizer, cache=cache)
    expected = draw(bank, generator(), 0)
    resumed = make_bank(tokenizer, cache=cache)
    resumed.load_state_dict(bank.state_dict())
    # An encoder that would give something else, were it asked.
    vae = make_autoencoder()
    torch.nn.init.zeros_(vae.quant_conv.weight)
    blind = type(resumed)(vae, make_sampler(), tokenizer, 24, STEPS, cache)
    blind.load_state_dict(bank.state_dict())
    assert torch.equal(draw(blind, generator(), 0)[0], expected[0])


def test_a_filling_of_another_autoencoder_or_a_damaged_one_is_not_used(tokenizer, tmp_path):
    path = tmp_path / "latents.pt"
    bank = make_bank(tokenizer, cache=FillingCache(path, "vae"))
    draw(bank, generator(), 0)
    start = bank.state_dict()["start"]
    assert FillingCache(path, "vae").load(start) is not None
    assert FillingCache(path, "other").load(start) is None
    assert FillingCache(path, "vae").load(make_sampler(8).state_dict()) is None
    path.write_bytes(path.read_bytes()[:1000])
    assert FillingCache(path, "vae").load(start) is None
    path.unlink()
    assert FillingCache(path, "vae").load(start) is None


def test_a_cache_that_cannot_be_written_says_so(tokenizer, tmp_path):
    (tmp_path / "file").write_text("")
    bank = make_bank(tokenizer, cache=FillingCache(tmp_path / "file" / "latents.pt", "vae"))
    with pytest.raises(TrainingError, match="cannot be written"):
        draw(bank, generator(), 0)
