from __future__ import annotations

import numpy as np
import pytest

from models.stepping import advance

SHAPE = (4, 2, 2)


def columns(*rows: tuple[float, ...]):
    """Return a, b, c, d, p, q as float32 columns, from one tuple of six for each row."""
    return [np.array(values, np.float32).reshape(-1, 1, 1, 1) for values in zip(*rows, strict=True)]


@pytest.fixture
def draws():
    rng = np.random.default_rng(2)
    return rng.standard_normal((4, 1, *SHAPE), np.float32)


def test_the_update_is_the_one_that_solver_tables_promise(draws):
    x, out, history, noise = draws

    x_next, history_next = advance(x, out, history, noise, columns((2, 3, 5, 7, 11, 13)))

    np.testing.assert_allclose(x_next, 2 * x + 3 * out + 5 * history + 7 * noise, rtol=1e-5)
    assert history_next is not None
    np.testing.assert_allclose(history_next, 11 * x + 13 * out, rtol=1e-5)


def test_without_history_and_noise_only_x_and_out_count(draws):
    x, out, _, _ = draws

    x_next, history_next = advance(x, out, None, None, columns((2, 3, 0, 0, 0, 0)))

    np.testing.assert_allclose(x_next, 2 * x + 3 * out, rtol=1e-6)
    assert history_next is None


def test_leaving_out_terms_that_are_zero_changes_no_bit_even_of_negative_zeros(draws):
    x, out, history, noise = draws
    x[0, 0], out[0, 0] = -0.0, -0.0
    history[0, 0, 0], noise[0, 0, 0] = -1.0, 1.0
    coefficients = columns((1, 1, 0, 0, 0, 0))
    plain, _ = advance(x, out, None, None, coefficients)

    for h in (history, None):
        for z in (noise, None):
            assert advance(x, out, h, z, coefficients)[0].tobytes() == plain.tobytes()


def test_a_row_that_turns_bad_leaves_its_neighbours_alone(draws):
    x, out, history, noise = (np.concatenate([draw, draw]) for draw in draws)
    coefficients = columns((2, 3, 5, 7, 11, 13), (2, 3, 5, 7, 11, 13))
    healthy, healthy_history = advance(x, out, history, noise, coefficients)
    out[1] = np.nan
    history[1] = np.nan

    x_next, history_next = advance(x, out, history, noise, coefficients)

    assert history_next is not None
    assert healthy_history is not None
    assert x_next[0].tobytes() == healthy[0].tobytes()
    assert history_next[0].tobytes() == healthy_history[0].tobytes()
    assert np.isnan(x_next[1]).all()


def test_arguments_are_not_changed(draws):
    before = draws.copy()
    x, out, history, noise = draws

    advance(x, out, history, noise, columns((2, 3, 5, 7, 11, 13)))

    np.testing.assert_array_equal(draws, before)
