"""Stage text: an own tokenizer and text encoder, that knows what words mean before it draws.

The encoder imitates a sentence model on captions and on words of the language, so that a word no
caption uses lands near one that they do; and it names what captions say.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPTextConfig, CLIPTextModel

from models.training.tokens import encode_texts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from models.tokenizer import ClipTokenizer
    from models.training.art import Art
    from models.training.corpus import Captions
    from models.training.recipe import TextRecipe

_UNNAMED: Final = -1


@dataclass(frozen=True, slots=True)
class Lessons:
    """What the encoder learns from: n texts.

    ids: (n, window) tokens. labels: (n, 4) subject, style, background and recolour, -1 where a text
    names none. targets: (n, width) unit vectors of the teacher, None without. num_captions: how
    many of the texts, from the first, are captions.
    """

    ids: Tensor
    labels: Tensor
    targets: Tensor | None
    num_captions: int


class TextNetwork(nn.Module):
    """The text encoder, with heads that only this stage needs.

    num_labels: how many values each label has. target_width: of the teacher's vectors, or None.
    """

    def __init__(self, encoder: Any, num_labels: Sequence[int], target_width: int | None) -> None:
        super().__init__()
        width = int(encoder.config.hidden_size)
        self.encoder = encoder
        self.names = nn.ModuleList([nn.Linear(width, count) for count in num_labels])
        self.imitation = None if target_width is None else nn.Linear(width, target_width)

    def forward(
        self, ids: Tensor, positions: Tensor, noise: Tensor
    ) -> tuple[Tensor | None, list[Tensor]]:
        """Return the imitated vectors (n, width), if there is a teacher, and one logit per name.

        positions: (n,) the token of each text whose state is named. noise: (n, hidden width), added
        to those states at unit size.
        """
        encoded = self.encoder(input_ids=ids)
        imitated = None if self.imitation is None else self.imitation(encoded.pooler_output)
        states = encoded.last_hidden_state[torch.arange(len(ids), device=ids.device), positions]
        states = functional.layer_norm(states.float(), states.shape[-1:]) + noise
        return imitated, [head(states) for head in self.names]


@dataclass(frozen=True, slots=True)
class Probes:
    """Synonyms and the subjects that they should mean. ids: (n, window); subjects: (n,)."""

    synonym_ids: Tensor
    synonym_subjects: Tensor
    name_ids: Tensor

    @classmethod
    def of(cls, art: Art, tokenizer: ClipTokenizer, device: torch.device | str) -> Probes:
        """Return the probes of a data set's subjects."""
        synonyms = [
            (word, index) for index, subject in enumerate(art.subjects) for word in subject.synonyms
        ]
        synonyms = synonyms or [(art.subjects[0].name, 0)]
        words, subjects = zip(*synonyms, strict=True)
        names = [subject.name for subject in art.subjects]
        return cls(
            torch.from_numpy(encode_texts(tokenizer, words)).to(device),
            torch.tensor(subjects, device=device),
            torch.from_numpy(encode_texts(tokenizer, names)).to(device),
        )

    def score(self, network: Any) -> float:
        """Return the share of synonyms whose nearest name is their own subject's."""
        synonyms = functional.normalize(network.encoder(self.synonym_ids).pooler_output, dim=1)
        names = functional.normalize(network.encoder(self.name_ids).pooler_output, dim=1)
        nearest = (synonyms @ names.T).argmax(dim=1)
        return float((nearest == self.synonym_subjects).float().mean())


class TextTask:
    """Implements models.training.loop.Task.

    probes: how many synonyms land nearest to their own subject is recorded. tokenizer: its folder.
    """

    def __init__(
        self,
        network: TextNetwork,
        recipe: TextRecipe,
        lessons: Lessons,
        probes: Probes,
        tokenizer: Path,
    ) -> None:
        self.network: nn.Module = network
        self._recipe = recipe
        self._lessons = lessons
        self._probes = probes
        self._tokenizer = tokenizer
        self._end_id = int(network.encoder.config.eos_token_id)
        device = lessons.ids.device
        self._generator = torch.Generator(device).manual_seed(recipe.training.seed)

    def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        """Return all weights as one group."""
        return [{"params": list(self.network.parameters()), "lr": learning_rate}]

    def losses(self, network: nn.Module, step: int) -> Mapping[str, Tensor]:  # noqa: ARG002
        """Return the imitation's distance and the cross-entropy of each label."""
        lessons = self._lessons
        rows = self._draw_rows()
        ids = lessons.ids[rows]
        imitated, logits = network(ids, self._draw_positions(ids), self._draw_noise(len(ids)))
        labels = lessons.labels[rows]
        names = [
            functional.cross_entropy(values.float(), labels[:, index], ignore_index=_UNNAMED)
            for index, values in enumerate(logits)
        ]
        losses = {"naming": torch.stack(names).mean()}
        if imitated is not None and lessons.targets is not None:
            alike = functional.cosine_similarity(imitated.float(), lessons.targets[rows], dim=1)
            losses["imitation"] = 1 - alike.mean()
        return {"loss": torch.stack(list(losses.values())).sum(), **losses}

    def after_step(self) -> None:
        """Do nothing."""

    def show(self) -> tuple[None, Mapping[str, float]]:
        """Return no picture, and the share of synonyms that land nearest to their subject."""
        return None, {"synonyms_right": self._probes.score(self.network)}

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the draw."""
        return {"rows": self._generator.get_state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to a state."""
        self._generator.set_state(state["rows"].cpu())

    def save(self, folder: Path, shard_bytes: int | None) -> None:
        """Write `text_encoder` and `tokenizer`."""
        save_text_encoder(self.network.encoder, folder, shard_bytes)
        shutil.copytree(self._tokenizer, folder / "tokenizer")

    def _draw_rows(self) -> Tensor:
        """Return (batch,) rows: captions, and at the end the recipe's share of the other texts."""
        total, captions = len(self._lessons.ids), self._lessons.num_captions
        batch = self._recipe.training.batch
        others = round(batch * self._recipe.general_share) if total > captions else 0
        return torch.cat(
            [self._draw(0, captions, batch - others), self._draw(captions, total, others)]
        )

    def _draw_positions(self, ids: Tensor) -> Tensor:
        """Return (n,) positions: of each text its end token or, as chance has it, one behind it.

        The denoiser attends to all of them, so what a text says must be in all of them.
        """
        first = (ids == self._end_id).int().argmax(dim=1)
        chance = torch.rand(len(ids), generator=self._generator, device=ids.device)
        return first + (chance * (ids.shape[1] - first)).long()

    def _draw_noise(self, count: int) -> Tensor:
        """Return the noise that names are read through.

        A name that differs from others by less than the noise is not read, so none can do with a
        small difference. A sentence model hardly cares for the colour of a background, and to
        imitate it leaves the denoiser next to nothing to tell two of them apart by.
        """
        generator = self._generator
        shape = (count, self._recipe.hidden_size)
        noise = torch.randn(shape, generator=generator, device=generator.device)
        return self._recipe.naming_noise * noise

    def _draw(self, low: int, high: int, count: int) -> Tensor:
        if count == 0:
            return torch.empty(0, dtype=torch.int64, device=self._lessons.ids.device)
        generator = self._generator
        return torch.randint(low, high, (count,), generator=generator, device=generator.device)


def make_lessons(
    captions: Captions,
    others: Sequence[str],
    targets: Tensor | None,
    tokenizer: ClipTokenizer,
    device: torch.device | str,
) -> Lessons:
    """Return captions and other texts as lessons on the device.

    targets: the teacher's vectors of captions and others, in this order. Their mean is taken off:
    it says "a caption", and would hide what one caption says and another does not.
    """
    texts = [*captions.texts, *others]
    labels = torch.full((len(texts), captions.labels.shape[1]), _UNNAMED)
    labels[: len(captions.texts)] = captions.labels
    if targets is not None:
        targets = functional.normalize(targets - targets.mean(dim=0), dim=1).to(device)
    ids = torch.from_numpy(encode_texts(tokenizer, texts)).to(device)
    return Lessons(ids, labels.to(device), targets, len(captions.texts))


def build_text_encoder(recipe: TextRecipe, num_tokens: int) -> Any:
    """Return an untrained CLIPTextModel; the last two of its tokens are begin and end."""
    config = CLIPTextConfig(
        vocab_size=num_tokens,
        hidden_size=recipe.hidden_size,
        intermediate_size=recipe.intermediate_size,
        projection_dim=recipe.hidden_size,
        num_hidden_layers=recipe.num_layers,
        num_attention_heads=recipe.num_heads,
        max_position_embeddings=recipe.window,
        bos_token_id=num_tokens - 2,
        eos_token_id=num_tokens - 1,
        pad_token_id=num_tokens - 1,
    )
    return CLIPTextModel(config)


def save_text_encoder(encoder: Any, folder: Path, shard_bytes: int | None) -> None:
    """Write `text_encoder` into a folder of networks."""
    limit = {} if shard_bytes is None else {"max_shard_size": shard_bytes}
    encoder.save_pretrained(folder / "text_encoder", safe_serialization=True, **limit)
