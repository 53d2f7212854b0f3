from __future__ import annotations

import numpy as np
import pytest

from models.arrays import NumpyArrays
from models.interface import ArrayBackend


@pytest.fixture
def arrays() -> ArrayBackend:
    return NumpyArrays()


def test_zeros_are_float32(arrays):
    zeros = arrays.zeros((2, 3))

    assert zeros.dtype == np.float32
    assert not zeros.any()


def test_host_and_device_values_never_alias(arrays):
    host = np.ones((2, 3), np.float32)
    device = arrays.from_numpy(host)
    back = arrays.to_numpy(device)
    device[:] = 7

    assert (host == 1).all()
    assert (back == 1).all()


def test_an_index_gathers_and_scatters_rows(arrays):
    table = arrays.from_numpy(np.arange(12, dtype=np.float32).reshape(4, 3))
    rows = arrays.index([2, 0])
    gathered = table[rows]
    table[rows] = gathered + 100

    assert gathered[:, 0].tolist() == [6, 0]
    assert table[:, 0].tolist() == [100, 3, 106, 9]


def test_an_empty_index_selects_no_row(arrays):
    assert arrays.zeros((4, 3))[arrays.index([])].shape == (0, 3)


def test_parts_are_joined_along_the_rows(arrays):
    joined = arrays.concat([arrays.zeros((1, 2)), arrays.zeros((3, 2))])

    assert joined.shape == (4, 2)


def test_parts_are_joined_along_another_axis_when_asked(arrays):
    joined = arrays.concat([arrays.zeros((2, 1)), arrays.zeros((2, 4))], axis=1)

    assert joined.shape == (2, 5)


def test_row_std_is_the_unbiased_deviation_of_each_row(arrays):
    values = np.random.default_rng(0).standard_normal((3, 4, 8, 8), np.float32) + 1000

    deviation = arrays.row_std(values)

    assert deviation.shape == (3, 1, 1, 1)
    assert deviation.dtype == np.float32
    expected = [np.sqrt(((r - r.mean()) ** 2).sum() / (r.size - 1)) for r in values.astype(float)]
    np.testing.assert_allclose(deviation.ravel(), expected, rtol=1e-6)
