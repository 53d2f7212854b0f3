"""Guidance against diffusers' formula and its `rescale_noise_cfg`, in numpy and in torch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import rescale_noise_cfg

from models.arrays import NumpyArrays
from models.guidance import apply_guidance

stock_rescale: Any = rescale_noise_cfg  # diffusers leaves it without type hints

SCALES = [1.0, 3.0, 7.5, 15.0]
RESCALES = [0.0, 0.2, 0.7, 1.0]


def column(values: list[float]) -> torch.Tensor:
    return torch.tensor(values).reshape(-1, 1, 1, 1)


def torch_row_std(values: torch.Tensor) -> torch.Tensor:
    return values.std(dim=(1, 2, 3), keepdim=True)


@pytest.fixture
def predictions() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    uncond = torch.randn((4, 4, 16, 16), generator=generator)
    cond = uncond + 0.1 * torch.randn((4, 4, 16, 16), generator=generator)
    return cond, uncond


@pytest.fixture
def expected(predictions: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """Row by row, as a pipeline with this scale and rescale would."""
    rows = []
    for cond, uncond, scale, rescale in zip(*predictions, SCALES, RESCALES, strict=True):
        guided: Any = (uncond + scale * (cond - uncond))[None]
        if rescale > 0:
            guided = stock_rescale(guided, cond[None], guidance_rescale=rescale)
        rows.append(guided)
    return torch.cat(rows)


def test_torch_rows_equal_a_pipeline_each(predictions, expected):
    cond, uncond = predictions

    guided = apply_guidance(cond, uncond, column(SCALES), column(RESCALES), torch_row_std)

    torch.testing.assert_close(guided, expected, rtol=1e-6, atol=1e-6)


def test_numpy_rows_equal_a_pipeline_each(predictions, expected):
    cond, uncond = (prediction.numpy() for prediction in predictions)
    scale, rescale = column(SCALES).numpy(), column(RESCALES).numpy()

    guided = apply_guidance(cond, uncond, scale, rescale, NumpyArrays().row_std)

    np.testing.assert_allclose(guided, expected.numpy(), rtol=1e-6, atol=1e-6)
