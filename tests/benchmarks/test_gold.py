"""The gold of the ETTh1 benchmark and the columns that judge by it, against closed forms."""

import numpy as np
import pytest
import torch

from benchmarks.posterior import columns, contexts, gold_cache
from benchmarks.posterior.gold import Gold, GoldConfig, gold_samples, pooled
from sadt_ray.data.synthetic import synthetic_hourly
from sadt_ray.interfaces import Problem
from sadt_ray.metrics import energy_distance
from sadt_ray.numerics.rng import derive_seeds, normals
from sadt_ray.processes.diffusion import DiffusionProcess, SamplerConfig
from sadt_ray.rewards.function import FunctionReward
from sadt_ray.smc.tempering.annealing import AnnealingConfig
from sadt_ray.smc.tempering.gaussian_chain import GaussianChain
from sadt_ray.smc.tempering.noise_chain import NoiseChain
from sadt_ray.tree.samples import WeightedSamples

SLOPE = np.array([1.0, -0.5, 0.4])
SPREAD = torch.tensor([0.3, 1.0, 2.0])
STEPS = 4
LAMS = (1.0, 2.0)


class Unsure:
    """The exact denoiser of N(m, s^2), m the context; it does not say how uncertain x_0 is."""

    width = 3

    def __repr__(self):
        return type(self).__name__

    def encode(self, problems, device):
        return (torch.from_numpy(np.stack([p.context for p in problems]).astype(np.float32)).to(device),)

    def initial(self, noise, sigma, conditioning):
        return conditioning[0] + torch.sqrt(SPREAD**2 + sigma**2) * noise

    def denoised(self, x, sigma, conditioning):
        return conditioning[0] + SPREAD**2 / (SPREAD**2 + sigma[:, None] ** 2) * (x - conditioning[0])

    def decode(self, x, conditioning):
        return x + 1

    def features(self, x, sigma, conditioning):
        return x


class Knowing(Unsure):
    """The same, which says it; its Gaussian chain has mean 0, so that a context other than 0 has to be weighted in."""

    def clean_spread(self, sigma, conditioning):
        return sigma[:, None] * SPREAD / torch.sqrt(sigma[:, None] ** 2 + SPREAD**2)


PROBLEM = Problem("shifted", np.array([0.2, -0.5, 1.0]), truth=np.zeros(3))


class Linear(FunctionReward):
    """r(x) = a.x."""

    def __repr__(self):
        return "linear"


REWARD = Linear(lambda samples, problem: samples @ SLOPE)


def _process(denoiser=None):
    return DiffusionProcess(denoiser or Knowing(), SamplerConfig(STEPS, 0.05, 8.0))


def _truth(lam):
    """Mean, covariance and log Z of N(m, s^2) exp(lambda a.x) / Z."""
    mean, variance = PROBLEM.context + 1, SPREAD.double().numpy() ** 2
    return mean + lam * variance * SLOPE, np.diag(variance), lam * SLOPE @ mean + lam**2 / 2 * variance @ SLOPE**2


def _config(surrogate, **changes):
    annealing = AnnealingConfig(chains=1024, sweeps=24, final_sweeps=48)
    return GoldConfig(annealing, surrogate, (0, 3), **{"evaluated_sweeps": 16, "kept": 4096} | changes)


def noise_chain(process, problem, blocks):
    return NoiseChain(process.bind([problem]), REWARD.bind([problem]), 0, blocks)


def gaussian_chain(process, problem):
    return GaussianChain(process.bind([problem]), REWARD.bind([problem]), 0)


def _noise(n, seed=0):
    return torch.randn(n, STEPS + 1, 3, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("denoiser", [Unsure(), Knowing()])
def test_a_chain_from_noises_is_the_chain_that_draws_the_same_normals(denoiser):
    process, seeds = _process(denoiser).with_branch_steps("none"), derive_seeds(0, 0, np.arange(7))
    chain, zeros = process.bind([PROBLEM]), np.zeros(7, np.int64)
    drawn = chain.advance(chain.root_states()[zeros], zeros, zeros, seeds)
    noise = np.stack([normals(seeds, np.full(7, stream), 3) for stream in range(STEPS + 1)], axis=1)
    runs = noise_chain(process, PROBLEM, (0,)).population(torch.from_numpy(noise).float())
    np.testing.assert_allclose(runs.samples, chain.decode(drawn.states, zeros), atol=1e-5)
    np.testing.assert_allclose(runs.rewards, runs.samples.numpy() @ SLOPE, rtol=1e-6)


def test_running_again_from_a_block_is_running_all_with_the_new_noises_and_costs_less():
    chain = noise_chain(_process(), PROBLEM, (0, 1, 3))
    noise, other = _noise(5), _noise(5, seed=1)
    for block, first in enumerate((0, 1, 3)):
        mixed = torch.cat([noise[:, :first], other[:, first:]], dim=1)
        for mine, whole in zip(
            chain.again(chain.population(noise), block, mixed), chain.population(mixed), strict=True
        ):
            torch.testing.assert_close(mine, whole)
    assert [chain.steps_from(block) for block in range(3)] == [4, 4, 2]
    with pytest.raises(ValueError, match="ascending from 0"):
        noise_chain(_process(), PROBLEM, (1, 3))


def test_lifted_noises_lead_where_the_gaussian_chain_leads_and_are_standard_normal_themselves():
    centred = Problem("centred", np.zeros(3))
    gaussian, chain = (gaussian_chain(_process(), centred), noise_chain(_process(), centred, (0,)))
    noise = torch.randn(40_000, 1, 3, generator=torch.Generator().manual_seed(3))
    lifted = gaussian.lifted(noise, _noise(40_000))
    torch.testing.assert_close(chain.population(lifted).samples, gaussian.population(noise).samples, atol=1e-4, rtol=0)
    flat = lifted.flatten(1).double().numpy()
    np.testing.assert_allclose(np.cov(flat.T), np.eye(flat.shape[1]), atol=0.03)
    with pytest.raises(ValueError, match="clean_spread"):
        gaussian_chain(_process(Unsure()), centred)


@pytest.mark.parametrize("surrogate", [True, False])
def test_the_gold_of_a_linear_gaussian_target_is_its_closed_form(surrogate):
    golds = gold_samples(_process(), PROBLEM, REWARD, LAMS, _config(surrogate), seed=1)
    for lam, gold in zip(LAMS, golds, strict=True):
        mean, covariance, log_z = _truth(lam)
        sd = np.sqrt(np.diag(covariance))
        assert gold.inv_temperature == lam
        assert gold.log_z == pytest.approx(log_z, abs=0.08)
        assert gold.mean_reward == pytest.approx(SLOPE @ mean, abs=0.08)
        np.testing.assert_allclose((gold.samples.mean(0) - mean) / sd, 0, atol=0.12)
        np.testing.assert_allclose(np.cov(gold.samples.T) / np.outer(sd, sd), np.eye(3), atol=0.12)
        np.testing.assert_allclose(gold.rewards, gold.samples @ SLOPE, rtol=1e-5)
    assert golds[0].nfe < golds[1].nfe


def test_a_surrogate_that_is_exact_needs_no_correction_and_few_evaluations():
    centred = Problem("centred", np.zeros(3))
    gold = gold_samples(_process(), centred, REWARD, [2.0], _config(True))[0]
    assert gold.diagnostics["correction"] == pytest.approx(1, abs=1e-6)
    assert gold.nfe == 1024 * 16 * STEPS
    with pytest.raises(ValueError, match="ascending"):
        gold_samples(_process(), centred, REWARD, [2.0, 1.0])


def _cached(tmp_path, inv_temperatures=LAMS, **changes):
    options = {"process": _process(), "reward": REWARD, "config": _small(), "directory": tmp_path}
    return gold_cache.gold_for([PROBLEM], inv_temperatures, **options | changes)


def _small():
    return GoldConfig(AnnealingConfig(chains=16, sweeps=2, final_sweeps=4), True, (0,), 2, 8)


def test_gold_is_made_once_and_comes_back_from_the_cache_as_it_was(tmp_path, monkeypatch):
    heard = []
    made = _cached(tmp_path, progress=lambda done, total: heard.append((done, total)))
    assert heard == [(1, 2), (2, 2)]
    one, two = made[0][LAMS[1]]
    assert not np.array_equal(one.samples, two.samples)
    monkeypatch.setattr(gold_cache, "gold_samples", _never)
    for lam in LAMS:
        for before, after in zip(made[0][lam], _cached(tmp_path)[0][lam], strict=True):
            for name, value in vars(before).items():
                np.testing.assert_equal(getattr(after, name), value)


def test_other_settings_are_other_gold_and_a_damaged_file_is_made_again(tmp_path, monkeypatch):
    made = _cached(tmp_path, replicates=1)
    path = next(tmp_path.iterdir())
    path.write_bytes(path.read_bytes()[:-40])
    again = _cached(tmp_path, replicates=1)
    np.testing.assert_array_equal(again[0][LAMS[0]][0].samples, made[0][LAMS[0]][0].samples)
    monkeypatch.setattr(gold_cache, "gold_samples", _never)
    _cached(tmp_path, replicates=1)
    others = [
        {"inv_temperatures": (1.0,)},
        {"process": _process().with_sampler(num_steps=5)},
        {"config": _config(True)},
        {"replicates": 2},
    ]
    for changes in others:
        with pytest.raises(AssertionError, match="made"):
            _cached(tmp_path, **{"replicates": 1} | changes)


def test_a_reward_that_cannot_be_told_from_others_is_refused(tmp_path):
    with pytest.raises(ValueError, match="repr"):
        _cached(tmp_path, reward=FunctionReward(lambda samples, problem: samples[:, 0]))


def _never(*arguments):
    raise AssertionError("gold is made")


RNG = np.random.default_rng(5)


def _gold(samples, log_z=-1.0):
    rewards = samples[:, 0].astype(float)
    return Gold(1.0, samples, rewards, float(rewards.mean()), log_z, 10)


def _series(n, rng=RNG):
    return rng.standard_normal((n, 96))


SERIES = Problem("series", RNG.standard_normal(336), truth=RNG.standard_normal(96))


def test_gold_judged_by_itself_is_faultless():
    gold = _gold(_series(200))
    quality = columns.judge(columns.as_found(gold), target := columns.Target(SERIES, gold))
    assert (quality.log_z_error, quality.ess, quality.root_ess) == (0, pytest.approx(200), 200)
    assert quality.reward_bias == pytest.approx(0, abs=1e-12)
    assert quality.ed == pytest.approx(-target.spread / 200)
    assert quality.edp == pytest.approx(-target.log_psd_spread / 200)


def test_draws_from_the_posterior_are_as_far_from_it_as_their_number_says_whatever_the_number_of_gold_samples():
    rng = np.random.default_rng(6)
    expected = np.sqrt(2) * 9.77 / 10  # E|Y - Y'| / n; the mean of a chi with 96 degrees of freedom is 9.77
    for size in (15, 300):
        found = [columns.as_found(_gold(_series(10, rng))) for _ in range(40)]
        distances = [columns.judge(one, columns.Target(SERIES, _gold(_series(size, rng)))).ed for one in found]
        assert np.mean(distances) == pytest.approx(expected, abs=0.03)


def test_distances_are_those_of_the_metrics_but_for_the_golds_pairs_with_itself():
    gold, samples, weights = _gold(_series(50)), _series(30), RNG.dirichlet(np.ones(30))
    found = WeightedSamples(samples, weights, samples[:, 0], np.arange(30), -1.5, 3.0)
    quality, target = columns.judge(found, columns.Target(SERIES, gold)), columns.Target(SERIES, gold)
    assert quality.ed == pytest.approx(energy_distance(samples, gold.samples, weights) - target.spread / 50, abs=1e-5)
    assert quality.log_z_error == -0.5
    assert quality.reward_bias == pytest.approx(weights @ samples[:, 0] - gold.mean_reward)


def test_a_series_without_a_future_cannot_be_judged():
    with pytest.raises(ValueError, match="no truth"):
        columns.Target(Problem("latest", np.zeros(336)), _gold(_series(3)))


def test_thinning_keeps_what_fits_drops_what_weighs_nothing_and_keeps_means():
    samples, weights = _series(5000), RNG.dirichlet(np.full(5000, 0.3))
    weights[::2] = 0
    weights /= weights.sum()
    few, kept = columns.thinned(samples, weights, 500)
    assert len(few) <= 500
    assert kept.sum() == pytest.approx(1)
    assert np.abs(kept @ few - weights @ samples).mean() < 0.05
    all_held, their_weights = columns.thinned(samples, weights, 2500)
    np.testing.assert_array_equal(all_held, samples[weights > 0])
    assert their_weights.sum() == pytest.approx(1)


def test_a_paired_comparison_counts_wins_and_says_how_sure_it_is():
    result = columns.paired([1.0, 2.0, 3.0, 4.0], [2.0, 2.0, 5.0, 5.0])
    assert result == (-1.0, pytest.approx(np.sqrt(2 / 3) / 2), 3, 4)
    with pytest.raises(ValueError, match="same problems"):
        columns.paired([1.0], [1.0, 2.0])


def test_pooled_gold_averages_z_and_holds_all_samples():
    both = pooled([_gold(_series(4), np.log(1.0)), _gold(_series(6), np.log(3.0))])
    assert (both.log_z, len(both.samples), both.nfe) == (pytest.approx(np.log(2)), 10, 20)


def test_contexts_are_windows_apart_with_every_channel_equally_often():
    data = synthetic_hourly(rows=17_420, channels=7)
    for problems, count in ((contexts.test_contexts(data), 28), (contexts.validation_contexts(data), 14)):
        starts = [problem.extras["start"] for problem in problems]
        assert len(problems) == count
        assert np.diff(starts).min() >= 96
        assert np.bincount([problem.extras["channel"] for problem in problems]).tolist() == [count // 7] * 7
