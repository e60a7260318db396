"""Rewards r(x_0, problem): black boxes that say how good a sample is. Higher is better; infinity is not allowed.

``spectral`` compares power spectra with the context's, ``second_opinion`` tilts towards other forecasts, ``limit`` asks
that a limit holds, ``function`` takes any Python function, ``combine`` adds rewards up, ``parse`` reads them from a
command line. ``checked`` is how all of them are called. ``stages`` has the rewards of texts.
"""
