"""The embedded model runs in an interpreter that cannot import torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import sys


class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "diffusers", "transformers", "safetensors", "onnx"}:
            raise ModuleNotFoundError(f"{name} is blocked")


sys.meta_path.insert(0, Blocker())

import numpy as np
from models.options import LoadOptions
from models.registry import load_model

model = load_model(LoadOptions(num_threads=1))
embeds = model.encode_prompt("a cat")
latents = np.ones((1, 4, 16, 16), np.float32)
out = model.denoise(latents, np.array([999.0], np.float32), embeds)
print(model.compile_solver("ddim", 4).num_steps, out.shape, model.decode(out).shape)
"""


def test_one_step_and_a_decode_without_torch():
    root = Path(__file__).parents[2]
    finished = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        check=False,
        cwd=root,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.split("\n")[0] == "4 (1, 4, 16, 16) (1, 64, 64, 3)"
