"""The diffusion chain over denoisers whose law is known in closed form."""

import numpy as np
import pytest
import torch
from scipy import stats

from sadt_ray.interfaces import GenerativeProcess, PredictsClean, Problem, RunsDown
from sadt_ray.numerics.rng import derive_seeds
from sadt_ray.processes.diffusion import DiffusionProcess, SamplerConfig
from sadt_ray.processes.sampling import sample_prior


class GaussianDenoiser:
    """The exact denoiser of N(m, s^2), m the problem's context: D = m + s^2 / (s^2 + sigma^2) (x - m)."""

    spread = torch.tensor([0.3, 1.0, 4.0])
    width = 3

    def encode(self, problems, device):
        return (torch.from_numpy(np.stack([p.context for p in problems]).astype(np.float32)).to(device),)

    def initial(self, noise, sigma, conditioning):
        return conditioning[0] + torch.sqrt(self.spread**2 + sigma**2) * noise

    def denoised(self, x, sigma, conditioning):
        assert len(x) == len(conditioning[0])
        assert len(sigma) in (1, len(x))
        weight = self.spread**2 / (self.spread**2 + sigma[:, None] ** 2)
        return conditioning[0] + weight * (x - conditioning[0])

    def decode(self, x, conditioning):
        return 10 * x

    def features(self, x, sigma, conditioning):
        return torch.cat([x, sigma[:, None]], dim=1)


class SpreadDenoiser(GaussianDenoiser):
    """The same, which also says how uncertain x_0 is."""

    def clean_spread(self, sigma, conditioning):
        sigma = sigma[:, None]
        return sigma * self.spread / torch.sqrt(sigma**2 + self.spread**2)


PROBLEMS = [Problem("near", np.zeros(3)), Problem("far", np.array([5.0, -5.0, 20.0]))]
SAMPLER = SamplerConfig(num_steps=6, sigma_min=0.05, sigma_max=8.0)


def _process(denoiser=None, branch_steps="every", **changes):
    sampler = SamplerConfig(**{"num_steps": 6, "sigma_min": 0.05, "sigma_max": 8.0} | changes)
    return DiffusionProcess(denoiser or SpreadDenoiser(), sampler, branch_steps)


def _seeds(n, seed=0):
    return derive_seeds(seed, 0, np.arange(n))


def test_the_process_keeps_the_contracts():
    process = _process()
    assert isinstance(process, GenerativeProcess)
    assert isinstance(process.bind(PROBLEMS), PredictsClean)
    assert isinstance(process.bind(PROBLEMS), RunsDown)
    assert (process.num_levels, process.state_shape, process.state_dtype) == (7, (3,), np.float32)


def test_with_the_spread_of_x_0_known_few_steps_draw_the_exact_gaussian():
    """Kolmogorov-Smirnov per axis; 20,000 draws see a standard deviation that is 2 % off."""
    samples = sample_prior(_process(branch_steps="none"), PROBLEMS, 20_000) / 10
    for problem, drawn in zip(PROBLEMS, samples, strict=True):
        for axis, spread in enumerate(GaussianDenoiser.spread.tolist()):
            law = stats.norm(problem.context[axis], spread)
            assert stats.kstest(drawn[:, axis], law.cdf).pvalue > 1e-3
        off_diagonal = np.corrcoef(drawn.T)[np.triu_indices(3, 1)]
        assert np.abs(off_diagonal).max() < 0.03


def test_without_it_the_ddpm_posterior_loses_spread_at_first_order_in_the_step():
    def lost(num_steps):
        sampler = {"num_steps": num_steps, "sigma_min": 0.01}
        samples = sample_prior(_process(GaussianDenoiser(), "none", **sampler), PROBLEMS[:1], 20_000) / 10
        return 1 - (samples[0].std(0) / GaussianDenoiser.spread.numpy()).mean()

    few, more, many = lost(10), lost(20), lost(40)
    assert few > 0.15
    assert 1.6 < few / more < 2.4
    assert 1.6 < more / many < 2.4


def test_noise_scale_widens_the_samples():
    narrow, wide = (sample_prior(_process(noise_scale=s), PROBLEMS[:1], 4000).std() for s in (1.0, 1.2))
    assert wide > 1.02 * narrow


def test_branch_levels_do_not_change_the_samples():
    reference = sample_prior(_process(branch_steps="none"), PROBLEMS, 5)
    for branch_steps in ("every", "published", (1, 6), (0, 2, 3, 6)):
        np.testing.assert_allclose(sample_prior(_process(branch_steps=branch_steps), PROBLEMS, 5), reference, rtol=1e-5)


def test_a_row_does_not_depend_on_its_companions_even_at_other_levels():
    process = _process(branch_steps=(0, 2, 3, 6))
    chain = process.bind(PROBLEMS)
    n = 40
    generator = np.random.default_rng(1)
    levels, problem = generator.integers(0, 4, n), generator.integers(0, 2, n)
    states, seeds = generator.normal(0, 3, (n, 3)).astype(np.float32), _seeds(n)
    together = chain.advance(states, levels, problem, seeds)
    np.testing.assert_array_equal(together.levels, levels + 1)
    for row in range(n):
        only = slice(row, row + 1)
        alone = chain.advance(states[only], levels[only], problem[only], seeds[only])
        np.testing.assert_allclose(alone.states[0], together.states[row], rtol=1e-5, atol=1e-6)
        assert alone.nfe[0] == together.nfe[row]


def test_running_down_in_one_go_passes_the_states_that_advancing_level_by_level_does():
    process = _process(branch_steps=(0, 2, 3, 6))
    chain = process.bind(PROBLEMS)
    generator = np.random.default_rng(2)
    levels, problem, seeds = generator.integers(0, 4, 30), generator.integers(0, 2, 30), _seeds(30)
    states = generator.normal(0, 3, (30, 3)).astype(np.float32)
    path = chain.run_down(states, levels, problem, seeds)
    for row in range(30):
        own = path.rows == row
        np.testing.assert_array_equal(path.levels[own], np.arange(levels[row] + 1, 5))
        one, state, level, nfe = slice(row, row + 1), states[row : row + 1], levels[row : row + 1], 0
        for passed in path.states[own]:
            step = chain.advance(state, level, problem[one], seeds[one])
            np.testing.assert_allclose(step.states[0], passed, rtol=1e-5, atol=1e-5)
            state, level, nfe = step.states, step.levels, nfe + step.nfe[0]
        assert path.nfe[row] == nfe


def test_each_row_pays_for_its_own_denoising_steps():
    process = _process(branch_steps=(0, 2, 3, 6))
    step = process.bind(PROBLEMS).advance(np.zeros((4, 3), np.float32), np.arange(4), np.zeros(4, np.int64), _seeds(4))
    np.testing.assert_array_equal(step.nfe, [0, 2, 1, 3])
    chain = process.bind(PROBLEMS)
    path = chain.run_down(chain.root_states()[:2], np.array([0, 2]), np.array([0, 1]), _seeds(2))
    np.testing.assert_array_equal(path.nfe, [6, 4])


def test_the_inputs_are_left_as_they_were():
    chain = _process().bind(PROBLEMS)
    states, levels, seeds = np.ones((3, 3), np.float32), np.array([0, 1, 2]), _seeds(3)
    chain.advance(states, levels, np.array([0, 1, 0]), seeds)
    np.testing.assert_array_equal(states, 1)
    np.testing.assert_array_equal(levels, [0, 1, 2])
    np.testing.assert_array_equal(seeds, _seeds(3))


def test_the_seed_alone_decides_a_row_and_another_seed_another_row():
    chain = _process(branch_steps="none").bind(PROBLEMS)
    rows = np.zeros((2, 3), np.float32), np.zeros(2, np.int64), np.zeros(2, np.int64)
    same = chain.advance(*rows, np.array([7, 7], np.uint64)).states
    other = chain.advance(*rows, np.array([7, 8], np.uint64)).states
    np.testing.assert_array_equal(same[0], same[1])
    assert not np.array_equal(other[0], other[1])


def test_siblings_from_one_state_differ_by_their_seeds_and_keep_the_conditional_law():
    """x_0 given x_t is Gaussian with mean D(x_t): the children of one late node must spread around x0_hat."""
    process = _process(branch_steps=(4, 6))
    chain = process.bind(PROBLEMS)
    n = 20_000
    state = np.tile(np.array([[0.5, 1.0, -2.0]], np.float32), (n, 1))
    ones, zeros = np.ones(n, np.int64), np.zeros(n, np.int64)
    children = chain.advance(state, ones, zeros, _seeds(n)).states
    clean = chain.predict_clean(state[:1], ones[:1], zeros[:1])[0]
    sigma = float(process.sampler.sigmas[4])
    spread = SpreadDenoiser().clean_spread(torch.tensor([sigma]), ())[0].numpy()
    np.testing.assert_allclose(children.mean(0), clean, atol=4 * spread.max() / np.sqrt(n))
    np.testing.assert_allclose(children.std(0), spread, rtol=0.03)


def test_x_0_is_its_own_clean_prediction_and_the_root_looks_ahead_to_the_prior_mean():
    process = _process()
    chain = process.bind(PROBLEMS)
    x = np.array([[1.0, 2.0, 3.0]], np.float32)
    np.testing.assert_array_equal(chain.predict_clean(x, np.array([7]), np.array([0])), x)
    root = chain.predict_clean(chain.root_states(), np.zeros(2, np.int64), np.arange(2))
    np.testing.assert_allclose(root, [p.context for p in PROBLEMS], atol=1e-5)


def test_features_know_the_noise_level_of_each_row_and_decode_the_units():
    chain = _process(branch_steps=(2, 6)).bind(PROBLEMS)
    x = np.ones((3, 3), np.float32)
    features = chain.features(x, np.array([0, 1, 2]), np.zeros(3, np.int64))
    np.testing.assert_allclose(features[:, 3], SAMPLER.sigmas[[0, 2, 6]], rtol=1e-6)
    np.testing.assert_allclose(chain.decode(x, np.zeros(3, np.int64)), 10)


@pytest.mark.parametrize("branch_steps", [(), (2, 5), (3, 2, 6), (-1, 6), (2, 2, 6)])
def test_branch_steps_that_do_not_ascend_to_x_0_are_refused(branch_steps):
    with pytest.raises(ValueError, match=r"must ascend within 0\.\.6 and end with 6"):
        _process().with_branch_steps(branch_steps)


def test_advancing_x_0_is_refused():
    with pytest.raises(ValueError, match="level 7 is x_0 already"):
        _process().bind(PROBLEMS).advance(np.zeros((1, 3), np.float32), np.array([7]), np.array([0]), _seeds(1))


def test_binding_nothing_and_sampling_nothing_are_refused():
    with pytest.raises(ValueError, match="no problems"):
        _process().bind([])
    with pytest.raises(ValueError, match="num_samples is 0"):
        sample_prior(_process(), PROBLEMS, 0)


def test_changing_the_sampler_or_the_branches_leaves_the_original_alone():
    process = _process()
    assert process.with_branch_steps("none").num_levels == 1
    assert process.with_sampler("none", num_steps=9).sampler.num_steps == 9
    assert (process.num_levels, process.sampler.num_steps) == (7, 6)


def test_a_batch_of_no_rows_stays_empty():
    chain = _process().bind([Problem("empty", np.zeros(1))])
    nothing = np.zeros(0, np.int64)
    step = chain.advance(chain.root_states()[:0], nothing, nothing, nothing.astype(np.uint64))
    assert step.states.shape == (0, chain.root_states().shape[1])
    assert len(step.levels) == len(step.nfe) == 0
