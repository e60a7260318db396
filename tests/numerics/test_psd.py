"""The PSD is scipy's, batched and with gradients."""

import numpy as np
import pytest
import torch
from scipy import signal

from sadt_ray.numerics import psd


def noise(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


@pytest.mark.parametrize(("nperseg", "length"), [(48, 96), (48, 336), (47, 200), (48, 100), (10, 10)])
def test_welch_is_scipys(nperseg, length):
    x = 3.0 + noise(2, 3, length)
    frequencies, theirs = signal.welch(x.numpy(), nperseg=nperseg)
    np.testing.assert_allclose(psd.welch(x, nperseg).numpy(), theirs, atol=1e-12)
    np.testing.assert_allclose(psd.frequencies(nperseg).numpy(), frequencies, atol=1e-15)


def test_single_precision_is_right_to_a_millionth():
    x = noise(64, 96)
    theirs = signal.welch(x.numpy(), nperseg=48)[1]
    np.testing.assert_allclose(psd.welch(x.float()).numpy(), theirs, atol=1e-5, rtol=1e-4)


def test_one_segment_of_multitaper_is_the_mean_of_scipys_tapered_periodograms():
    x = noise(5, 64)
    tapers = signal.windows.dpss(64, 2.5, 4)
    theirs = [signal.periodogram(x.numpy(), window=taper, detrend="constant")[1] for taper in tapers]
    np.testing.assert_allclose(psd.multitaper(x, 64).numpy(), np.mean(theirs, axis=0), atol=1e-12)


@pytest.mark.parametrize("method", psd.METHODS)
def test_white_noise_of_variance_four_has_a_density_of_eight_at_all_inner_frequencies(method):
    density = psd.METHODS[method](2.0 * noise(20_000, 48), 48).mean(0)[4:-4]
    np.testing.assert_allclose(density.numpy(), 8.0, rtol=0.05)


@pytest.mark.parametrize("method", psd.METHODS)
def test_a_psd_integrates_to_the_variance(method):
    density = psd.METHODS[method](noise(500, 480), 48).mean(0)
    assert float(density.sum() / 48) == pytest.approx(1.0, rel=0.03)  # 1/48 of it is the mean, removed


def test_multitaper_varies_less_than_one_hann_window():
    x = noise(2_000, 48)
    assert psd.multitaper(x, 48)[:, 10].var() < 0.5 * psd.welch(x, 48)[:, 10].var()


def test_the_psd_of_the_mean_is_at_most_the_mean_psd():
    """Proposition 3.2 of S-ADT: spectral collapse of averaged forecasts."""
    x = noise(30, 96)
    for method in psd.METHODS.values():
        assert torch.all(method(x.mean(0)) <= method(x).mean(0) + 1e-12)


@pytest.mark.parametrize("method", psd.METHODS)
def test_gradients_are_those_of_finite_differences(method):
    x = noise(2, 96).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: psd.log_psd(x, method=method), x)


def test_gradients_flow_after_a_first_call_in_inference_mode():
    with torch.inference_mode():
        psd.log_psd(noise(1, 62), nperseg=31)
        psd.log_psd(noise(1, 62), nperseg=31, method="multitaper")
    for method in psd.METHODS:
        x = noise(1, 62).requires_grad_()
        psd.log_psd(x, nperseg=31, method=method).sum().backward()
        assert torch.all(torch.isfinite(x.grad))


def test_a_constant_series_has_the_logarithm_of_eps_and_a_finite_gradient():
    x = torch.ones(96, dtype=torch.float64, requires_grad=True)
    value = psd.log_psd(x, eps=1e-4)
    value.sum().backward()
    np.testing.assert_allclose(value.detach().numpy(), np.log(1e-4))
    assert torch.all(torch.isfinite(x.grad))


def test_what_cannot_be_estimated_is_refused():
    with pytest.raises(ValueError, match="between 2 and the length of the series, 20, got 48"):
        psd.welch(noise(20))
    with pytest.raises(ValueError, match="choose one of welch, multitaper"):
        psd.log_psd(noise(96), method="burg")
    with pytest.raises(ValueError, match="half_bandwidth must be between"):
        psd.multitaper(noise(96), 48, half_bandwidth=0.5)
