"""The spectral reward is its formula, in batches of mixed problems, with gradients."""

import numpy as np
import pytest
import torch
from beartype import beartype
from jaxtyping import jaxtyped
from scipy import signal

from sadt_ray.interfaces import Problem, Reward
from sadt_ray.rewards.spectral import SpectralReward, SpectralScorer


def problems(count=3, length=336, seed=0):
    rng = np.random.default_rng(seed)
    return [Problem(f"window/{i}", np.cumsum(rng.normal(size=length))) for i in range(count)]


def samples(count=8, seed=1):
    return np.random.default_rng(seed).normal(size=(count, 96)).astype(np.float32)


def test_the_reward_is_minus_the_mean_absolute_log_ratio_of_scipys_spectra():
    known, x, owner = problems(), samples(), np.array([0, 1, 2, 0, 1, 2, 2, 2])
    score = jaxtyped(SpectralScorer.__call__, typechecker=beartype)
    rewards = score(SpectralReward(spectral_weight=2.0).bind(known), x, owner)
    for row, p in enumerate(owner):
        ours = signal.welch(x[row].astype(float), nperseg=48)[1]
        contexts = signal.welch(known[p].context, nperseg=48)[1]
        expected = -2.0 * np.mean(np.abs(np.log(ours + 1e-4) - np.log(contexts + 1e-4)))
        assert rewards[row] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("method", ["welch", "multitaper"])
def test_gradients_of_the_tensor_form_are_those_of_finite_differences(method):
    scorer = SpectralReward(method=method).bind(problems())
    x = torch.from_numpy(samples(3).astype(np.float64)).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: scorer.score_tensor(x, torch.tensor([2, 0, 1])), x)


def test_climbing_the_gradient_brings_the_spectrum_to_the_context():
    scorer, owner = SpectralReward().bind(problems(1)), torch.zeros(4, dtype=torch.long)
    x = torch.from_numpy(samples(4)).requires_grad_()
    start = scorer(x.detach().numpy(), owner.numpy())
    optimiser = torch.optim.Adam([x], lr=0.05)
    for _ in range(60):
        optimiser.zero_grad()
        (-scorer.score_tensor(x, owner)).sum().backward()
        optimiser.step()
    assert np.all(scorer(x.detach().numpy(), owner.numpy()) > 0.5 * start)


def test_a_row_scores_the_same_whatever_its_companions():
    scorer, x, owner = SpectralReward().bind(problems()), samples(64), np.arange(64) % 3
    together = scorer(x, owner)
    alone = [scorer(x[b : b + 1], owner[b : b + 1])[0] for b in range(64)]
    np.testing.assert_allclose(together, alone, rtol=1e-12)


def test_a_sample_with_the_spectrum_of_its_context_gets_zero_and_others_less():
    context = samples(1)[0].astype(float)
    scorer = SpectralReward().bind([Problem("same", context)])
    rewards = scorer(np.stack([context, 3 * context, context[::-1], context + 5.0]), np.zeros(4, int))
    assert rewards[0] == pytest.approx(0.0, abs=1e-12)
    assert rewards[1] == pytest.approx(-np.log(9.0), rel=0.02)
    assert rewards[2] == pytest.approx(0.0, abs=0.2)  # time reversed, with another place of the asymmetric window
    assert rewards[3] == pytest.approx(0.0, abs=1e-9)


def test_the_reward_hardly_depends_on_the_segment_length_for_a_gain():
    context = np.random.default_rng(2).normal(size=336)
    for nperseg in (24, 48, 96):
        scorer = SpectralReward(nperseg=nperseg).bind([Problem("gain", context)])
        assert scorer(2.0 * context[None], np.zeros(1, int))[0] == pytest.approx(-np.log(4.0), rel=0.02)


def test_read_only_samples_are_scored_without_a_warning(recwarn):
    x = samples()
    x.flags.writeable = False
    SpectralReward().bind(problems())(x, np.zeros(8, int))
    assert not recwarn.list


def test_it_is_a_reward_and_no_oracle():
    assert isinstance(SpectralReward(), Reward)
    assert SpectralReward().oracle is False


@pytest.mark.parametrize(
    ("context", "message"),
    [
        (np.zeros(47), r"'bad'.*at least nperseg = 48.*got shape \(47,\)"),
        (np.zeros((336, 7)), r"'bad'.*one channel.*got shape \(336, 7\)"),
        (np.full(336, np.nan), "'bad'.*finite"),
    ],
)
def test_a_context_that_does_not_fit_is_named_when_bound(context, message):
    with pytest.raises(ValueError, match=message):
        SpectralReward().bind([*problems(), Problem("bad", context)])


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"method": "burg"}, "choose one of welch, multitaper"),
        ({"eps": 0.0}, "eps must be positive, got 0.0"),
        ({"nperseg": 1}, "at least 2 samples, got 1"),
        ({"spectral_weight": float("nan")}, "finite number, got nan"),
    ],
)
def test_settings_that_make_no_sense_are_refused(setting, message):
    with pytest.raises(ValueError, match=message):
        SpectralReward(**setting)


def test_samples_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"\[B, time\], got shape \(96,\)"):
        SpectralReward().bind(problems())(np.zeros(96), np.zeros(96, int))
