"""Profiles say how long the model's calls take; here a clock's worth of sleep stands for them."""

from __future__ import annotations

import time

from models.families.toy import ToyModel
from service.planning.measure import MeasurePlan, measure


class SleepyModel(ToyModel):
    """Sleeps 1 ms a row in each step, 4 ms to decode, 2 ms for each new text."""

    def __init__(self):
        super().__init__(
            on_denoise=lambda latents, _: time.sleep(0.001 * len(latents)),
            on_decode=lambda _: time.sleep(0.004),
        )
        self.texts = []

    def encode_prompt(self, text):
        if text not in self.texts:
            self.texts.append(text)
            time.sleep(0.002)
        return super().encode_prompt(text)


def test_every_part_is_measured_at_every_size_and_batch():
    marked = []

    def mark(image):
        marked.append(image.pixels.shape)
        time.sleep(0.006)

    plan = MeasurePlan(sizes_px=((64, 64), (96, 64)), max_rows=9, rounds=5, burst=2)
    found = measure(SleepyModel(), mark, plan)
    native, larger = found.shapes
    assert [each.rows for each in native.steps] == [1, 2, 3, 4, 6, 8, 9]
    assert [each.rows for each in larger.steps] == [1, 2, 3, 4, 6]  # 1.5 times the positions
    assert (native.latent_positions, larger.latent_positions) == (256, 384)
    # Sleeps end late on a busy machine, never early.
    for each in (*native.steps, *larger.steps):
        assert each.step.samples == 5
        assert each.step.min_s >= 0.001 * each.rows
    assert native.decode.min_s >= 0.004
    assert native.mark.min_s >= 0.006
    assert found.encode_prompt.min_s >= 0.002
    assert set(marked) == {(64, 64, 3), (64, 96, 3)}


def test_texts_are_new_each_time_so_that_no_cache_answers():
    model = SleepyModel()
    measure(model, lambda _: None, MeasurePlan(((64, 64),), max_rows=2, rounds=5))
    new = [text for text in model.texts if "number" in text]
    assert len(new) == 6  # five that count, and the warm-up
