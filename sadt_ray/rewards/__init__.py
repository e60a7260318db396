"""Rewards r(x_0, problem): black boxes that score a sample. Higher is better; +inf and NaN are not allowed.

``spectral`` compares the power spectrum with that of the context, ``second_opinion`` tilts towards other forecasts,
``limit`` penalises the violation of a limit, ``copula`` scores the dependence between channels, ``function`` wraps any
Python function, ``combine`` sums rewards, ``parse`` reads them from a command line. Every call goes through
``checked``. The rewards of texts are in ``sadt_ray.opentslm.rewards``.
"""
