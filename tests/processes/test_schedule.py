"""Noise levels and the ancestral step, against closed forms."""

import numpy as np
import pytest

from sadt_ray.processes.branching import PRESETS, branch_steps_by_name
from sadt_ray.processes.schedule import karras_sigmas, posterior_coefficients


def test_noise_levels_fall_from_sigma_max_to_sigma_min_and_end_at_zero():
    sigmas = karras_sigmas(16, 0.02, 5.0)
    assert len(sigmas) == 17
    np.testing.assert_allclose(sigmas[[0, 15, 16]], [5.0, 0.02, 0.0], rtol=1e-12)
    assert (np.diff(sigmas) < 0).all()


def test_rho_1_spaces_the_noise_levels_evenly_and_rho_7_evenly_in_the_seventh_root():
    np.testing.assert_allclose(np.diff(karras_sigmas(5, 1.0, 5.0, rho=1.0)[:-1]), -1.0)
    steps = np.diff(karras_sigmas(9, 0.1, 10.0, rho=7.0)[:-1] ** (1 / 7))
    np.testing.assert_allclose(steps, steps[0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((1, 0.1, 1.0), "num_steps is 1"), ((4, 1.0, 1.0), "sigma_min 1.0"), ((4, 0.1, 1.0, 0.0), "rho is 0")],
)
def test_an_impossible_schedule_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        karras_sigmas(*arguments)


def test_the_ancestral_step_is_the_posterior_of_the_forward_chain():
    """Regress x_s on (x_0, x_t) over draws of the forward chain: the coefficients and the spread must agree."""
    generator = np.random.default_rng(0)
    sigma_t, sigma_s, n = 1.3, 0.7, 400_000
    x_0 = generator.normal(0, 2, n)
    x_s = x_0 + sigma_s * generator.standard_normal(n)
    x_t = x_s + np.sqrt(sigma_t**2 - sigma_s**2) * generator.standard_normal(n)
    weights, squares, _, _ = np.linalg.lstsq(np.stack([x_0, x_t], axis=1), x_s, rcond=None)
    keep, spread = posterior_coefficients(np.array([sigma_t, sigma_s]))
    np.testing.assert_allclose(weights, [1 - keep[0], keep[0]], atol=5e-3)
    np.testing.assert_allclose(np.sqrt(squares[0] / n), spread[0], rtol=5e-3)


def test_the_last_step_arrives_at_the_denoised_state_without_noise():
    keep, spread = posterior_coefficients(karras_sigmas(4, 0.1, 3.0))
    assert keep[-1] == spread[-1] == 0
    assert (keep[:-1] > 0).all()
    assert (spread[:-1] > 0).all()


def test_every_preset_ends_at_x_0():
    for preset in PRESETS:
        assert branch_steps_by_name(preset, karras_sigmas(16, 0.02, 5.0))[-1] == 16


def test_published_spacing_has_x_T_and_every_quarter_and_late_branches_where_little_noise_is_left():
    sigmas = karras_sigmas(16, 0.02, 5.0)
    assert branch_steps_by_name("published", sigmas) == (0, 4, 8, 12, 16)
    assert branch_steps_by_name("every", sigmas) == tuple(range(17))
    assert branch_steps_by_name("none", sigmas) == (16,)
    assert branch_steps_by_name("late", sigmas) == (10, 12, 14, 16)


def test_late_has_the_same_noise_levels_whatever_the_number_of_steps():
    for num_steps in (16, 32, 100):
        sigmas = karras_sigmas(num_steps, 0.02, 5.0)
        late = branch_steps_by_name("late", sigmas)
        np.testing.assert_allclose(sigmas[list(late[:-1])], (0.2, 0.09, 0.035), rtol=0.1)


def test_late_nodes_of_a_coarse_schedule_may_coincide():
    assert branch_steps_by_name("late", karras_sigmas(3, 0.05, 5.0)) == (1, 2, 3)


def test_an_unknown_preset_and_one_that_does_not_fit_are_explained():
    with pytest.raises(ValueError, match="'early'; choose one of published"):
        branch_steps_by_name("early", karras_sigmas(16, 0.02, 5.0))
    with pytest.raises(ValueError, match=r"noise levels 5\.\.1 do not reach 0\.2"):
        branch_steps_by_name("late", karras_sigmas(4, 1.0, 5.0))
