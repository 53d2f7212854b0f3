"""A process that leaks is found, one whose memory only wavers is not."""

from __future__ import annotations

import numpy as np
import pytest

from loadtests.chaos.memory_slope import (
    Bounds,
    MemoryReading,
    growth_bytes,
    judge_growth,
    judge_slope,
    slope_bytes_per_request,
)

KIB, MIB = 2**10, 2**20
REQUESTS = np.arange(0, 10_000, 100)
FULL, QUICK = Bounds.for_requests(10_000), Bounds.for_requests(300)


def readings(sizes_bytes) -> list[MemoryReading]:
    pairs = zip(REQUESTS, sizes_bytes, strict=False)
    return [MemoryReading(int(requests), int(size)) for requests, size in pairs]


def series(leak_bytes: float, *, seed: int = 0) -> np.ndarray:
    """Return what a server shows: warm-up that ends, noise of 1 MiB, peaks, and perhaps a leak."""
    rng = np.random.default_rng(seed)
    warm_up = 80 * MIB * (1 - np.exp(-REQUESTS / 600))
    noise = rng.normal(0, MIB, REQUESTS.size)
    peaks = np.where(rng.random(REQUESTS.size) < 0.1, 40 * MIB, 0)
    return 300 * MIB + warm_up + noise + peaks + leak_bytes * REQUESTS


@pytest.mark.parametrize("seed", range(20))
def test_noise_and_peaks_are_no_leak(seed):
    flat = readings(series(0, seed=seed))
    assert judge_slope(flat, FULL).is_kept
    assert judge_growth(flat, FULL).is_kept


@pytest.mark.parametrize("seed", range(20))
def test_two_kibibytes_a_request_are_a_leak_under_the_same_noise(seed):
    assert not judge_slope(readings(series(2 * KIB, seed=seed)), FULL).is_kept


def test_the_slope_is_that_of_the_leak():
    leak = readings(series(12 * KIB))
    assert slope_bytes_per_request(leak) == pytest.approx(12 * KIB, rel=0.05)


def test_memory_that_jumps_once_and_stays_is_found_by_its_growth():
    sizes = np.full(REQUESTS.size, 300 * MIB)
    sizes[60:] += 30 * MIB
    assert growth_bytes(readings(sizes)) == 30 * MIB
    assert not judge_growth(readings(sizes), FULL).is_kept


def test_a_short_run_finds_pictures_that_are_kept_and_forgives_what_fills_up_once():
    short = [MemoryReading(each, int(300 * MIB + 3 * KIB * each)) for each in range(0, 300, 3)]
    assert judge_slope(short, QUICK).is_kept
    kept = [MemoryReading(each, int(300 * MIB + 24 * KIB * each)) for each in range(0, 300, 3)]
    assert not judge_slope(kept, QUICK).is_kept


def test_memory_that_is_given_back_is_no_growth():
    assert judge_slope(readings(series(-4 * KIB)), FULL).is_kept


def test_readings_at_the_same_count_say_nothing_and_do_no_harm():
    twice = [each for each in readings(series(0)) for _ in range(2)]
    assert judge_slope(twice, FULL).is_kept


def test_too_few_readings_are_no_verdict():
    few = readings(series(0))[:10]
    for judge in (judge_slope, judge_growth):
        with pytest.raises(ValueError, match="too few"):
            judge(few, FULL)
