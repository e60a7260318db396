"""Tiny questions with and without answers to choose from, for tests of rewards of texts."""

import numpy as np

from sadt_ray.interfaces import Problem
from sadt_ray.processes.language.prompt import Prompt

LABELS = ("walking", "running", "lying")


def question(name="q", label="walking", context=None, answers=LABELS, pre="What is it?", **extras):
    """A problem with ``answers`` to choose from; a caption without."""
    context = np.sin(np.arange(64)) if context is None else np.asarray(context, dtype=float)
    return Problem(name, context, Prompt(pre, answers=answers), extras={"label": label, **extras})


def autoregression(phi, length, rng, burn_in=200):
    """x_t = phi x_(t-1) + noise, whose spectrum is known."""
    noise = rng.standard_normal(length + burn_in)
    x = np.zeros(length + burn_in)
    for t in range(1, len(x)):
        x[t] = phi * x[t - 1] + noise[t]
    return x[burn_in:]


def texts(*answers):
    """Rationales that end with the answers."""
    return np.array([f"It moves a lot. Answer: {answer}" for answer in answers])
