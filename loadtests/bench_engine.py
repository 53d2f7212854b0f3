"""CPU seconds per image: this engine on ONNX Runtime beside stock diffusers, in one run.

Both sides draw the same prompts with the same steps, guidance and scheduler on the embedded
model, before any marking. Rounds are interleaved; the median of the rounds is reported.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.options import LoadOptions
from models.registry import load_model
from service.domain.identity import Deadline, new_request_id
from service.domain.request import GenerationRequest, SamplingParams
from service.engine.admission import AdmissionQueue
from service.engine.client import EngineClient
from service.engine.loop import EngineLoop
from service.engine.options import EngineOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from models.interface import DiffusionModel
    from service.domain.events import EngineEvent

PROMPTS = (
    "a cat, 3d style, on a sky blue background",
    "an apple, flat style, on a white background",
    "a dog, soft style, on a yellow background",
    "a frog, flat style, on a beige background",
    "a pizza, soft style, on a navy background",
    "a rocket, soft style, on a navy background",
    "a panda, soft style, on a lavender background",
    "a purple car, flat style, on a yellow background",
)


@dataclass(frozen=True, slots=True)
class Arm:
    """One way to draw `images` pictures."""

    name: str
    images: int
    draw: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Sample:
    """What one round of one arm took, per image."""

    cpu_s: float
    wall_s: float


class _Silent:
    def on_event(self, event: EngineEvent) -> None:
        """Ignore the event."""


@contextmanager
def _running_engine(model: DiffusionModel) -> Iterator[EngineClient]:
    options = EngineOptions()
    queue = AdmissionQueue(options.max_queued_images)
    models = {model.spec.model_id: model}
    loop = EngineLoop(models, queue, options, _Silent(), time.monotonic)
    loop.start()
    try:
        yield EngineClient(models, queue, loop, _Silent(), time.monotonic)
    finally:
        loop.stop(10.0)


def _engine_arm(model: DiffusionModel, engine: EngineClient, concurrency: int) -> Arm:
    defaults = model.spec.defaults
    width_px, height_px = model.spec.default_size_px

    async def draw() -> None:
        tickets = [
            engine.submit(
                GenerationRequest(
                    model_id=model.spec.model_id,
                    prompt=prompt,
                    negative_prompt="",
                    width_px=width_px,
                    height_px=height_px,
                    num_images=1,
                    sampling=SamplingParams(
                        seed=seed,
                        num_inference_steps=defaults.num_inference_steps,
                        guidance_scale=defaults.guidance_scale,
                        scheduler=defaults.scheduler,
                        guidance_rescale=defaults.guidance_rescale,
                    ),
                ),
                request_id=new_request_id(),
                deadline=Deadline.after(600.0, time.monotonic()),
            )
            for seed, prompt in enumerate(PROMPTS[:concurrency])
        ]
        await asyncio.gather(*(ticket.images() for ticket in tickets))

    return Arm(
        f"mintmark engine, {concurrency} concurrent", concurrency, lambda: asyncio.run(draw())
    )


def _diffusers_arms(folder: Path, model: DiffusionModel, concurrency: int) -> list[Arm]:
    import torch
    from diffusers import StableDiffusionPipeline

    load: Callable[..., Any] = StableDiffusionPipeline.from_pretrained
    pipe = load(folder, dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    defaults = model.spec.defaults

    def draw(prompts: list[str]) -> None:
        pipe(
            prompts,
            num_inference_steps=defaults.num_inference_steps,
            guidance_scale=defaults.guidance_scale,
            guidance_rescale=defaults.guidance_rescale,
            generator=[torch.Generator().manual_seed(seed) for seed in range(len(prompts))],
        )

    def one_by_one() -> None:
        for prompt in PROMPTS[:concurrency]:
            draw([prompt])

    many = list(PROMPTS[:concurrency])
    return [
        Arm("diffusers eager, 1", 1, lambda: draw([PROMPTS[0]])),
        Arm(f"diffusers eager, {concurrency} one by one", concurrency, one_by_one),
        Arm(f"diffusers eager, {concurrency} in one call", concurrency, lambda: draw(many)),
    ]


def _measure(arm: Arm) -> Sample:
    cpu_s, wall_s = time.process_time(), time.perf_counter()
    arm.draw()
    return Sample(
        (time.process_time() - cpu_s) / arm.images, (time.perf_counter() - wall_s) / arm.images
    )


def run(rounds: int, concurrency: int) -> dict[str, Any]:
    """Measure every arm `rounds` times, interleaved; return medians by arm name."""
    folder = LoadOptions.embedded_folder()
    model = load_model(LoadOptions())
    with _running_engine(model) as engine:
        arms = _diffusers_arms(folder, model, concurrency)
        arms += [_engine_arm(model, engine, count) for count in (1, concurrency)]
        for arm in arms:  # warm-up: kernels, allocators, prompt cache
            arm.draw()
        samples: dict[str, list[Sample]] = {arm.name: [] for arm in arms}
        for _ in range(rounds):
            for arm in arms:
                samples[arm.name].append(_measure(arm))
    model.close()
    return {
        name: {
            "cpu_s_per_image": statistics.median(sample.cpu_s for sample in taken),
            "wall_s_per_image": statistics.median(sample.wall_s for sample in taken),
        }
        for name, taken in samples.items()
    }


def _print_table(results: dict[str, Any], concurrency: int) -> None:
    print(f"{'':44} {'CPU s/image':>12} {'wall s/image':>13}")
    for name, row in results.items():
        print(f"{name:44} {row['cpu_s_per_image']:12.3f} {row['wall_s_per_image']:13.3f}")

    def cpu(name: str) -> float:
        return float(results[name]["cpu_s_per_image"])

    alone = cpu("diffusers eager, 1") / cpu("mintmark engine, 1 concurrent")
    ours = cpu(f"mintmark engine, {concurrency} concurrent")
    apart = cpu(f"diffusers eager, {concurrency} one by one") / ours
    together = cpu(f"diffusers eager, {concurrency} in one call") / ours
    print(f"\ndiffusers / mintmark, CPU: {alone:.2f} alone; {concurrency} concurrent: ", end="")
    print(f"{apart:.2f} against one by one, {together:.2f} against one call")


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--concurrency", type=int, default=8, choices=range(2, len(PROMPTS) + 1))
    parser.add_argument("--json", type=Path, help="write the medians to this file")
    arguments = parser.parse_args()
    results = run(arguments.rounds, arguments.concurrency)
    _print_table(results, arguments.concurrency)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
