"""Three cheap forecasts that do not come from the prior: yesterday repeated, nearest analogues, ridge on all channels.

They use the training part alone. They are the opinions of ``second_opinion.py``. Their errors should differ from those
of a channel-independent network, which matters more than their accuracy: the ridge sees the other channels, the
analogues see single past cases.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from sadt_ray.interfaces import Problem

DAY = 24  # rows of the daily cycle


@runtime_checkable
class TrainingSeries(Protocol):
    """A multichannel series with windows of its training part, for example ``SeriesDataset``."""

    def windows(self, split: str, stride: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Contexts [n, context, C], futures [n, horizon, C] and rows of the first targets [n] of a part."""


@dataclass(frozen=True)
class Opinions:
    """Three forecasters fitted to the training part: a library of analogues, ridge weights, and error directions Q.

    Analogues are compared after the mean of the last day (the *level*) is subtracted and the result is divided by the
    context's standard deviation (the *scale*). The ridge subtracts the last value.
    """

    keys: Float[np.ndarray, "C n context"]  # normalised training contexts
    values: Float[np.ndarray, "C n horizon"]  # normalised training futures
    ridge_mean: Float[np.ndarray, " F"]  # F = ridge_rows * C: last rows of every channel
    ridge_weights: Float[np.ndarray, "F C horizon"]
    ridge_offset: Float[np.ndarray, "C horizon"]
    basis: Float[np.ndarray, "rank horizon"]  # Q: principal components of the ridge's training residuals
    neighbours: int

    def __call__(self, problem: Problem) -> Float[np.ndarray, "3 horizon"]:
        """The three forecasts of a problem with ``extras["all_contexts"]`` and ``extras["channel"]``.

        Raises ValueError with the name of a problem that lacks them or has other shapes.
        """
        channels, _, context_length = self.keys.shape
        contexts = np.asarray(problem.extras.get("all_contexts", np.empty((0, 0))), dtype=float)
        channel = int(problem.extras.get("channel", -1))
        if contexts.shape != (context_length, channels) or not 0 <= channel < channels:
            raise ValueError(
                f"problem {problem.name!r}: opinions need extras 'all_contexts' [{context_length}, {channels}] and "
                f"'channel' in 0..{channels - 1}, got {contexts.shape} and {channel}; build the problem with "
                f"SeriesDataset.problem"
            )
        return np.stack([self._yesterday(contexts, channel), self._analogues(contexts, channel),
                         self._ridge(contexts, channel)])  # fmt: skip

    def _yesterday(self, contexts: np.ndarray, channel: int) -> Float[np.ndarray, " horizon"]:
        horizon = self.values.shape[2]
        return np.resize(contexts[-DAY:, channel], horizon)

    def _analogues(self, contexts: np.ndarray, channel: int) -> Float[np.ndarray, " horizon"]:
        level, scale = _level(contexts)[channel], _scale(contexts)[channel]
        distance = np.square(self.keys[channel] - (contexts[:, channel] - level) / scale).sum(-1)
        nearest = np.argpartition(distance, self.neighbours - 1)[: self.neighbours]
        return level + scale * self.values[channel, nearest].mean(0)

    def _ridge(self, contexts: np.ndarray, channel: int) -> Float[np.ndarray, " horizon"]:
        inputs = _ridge_inputs(contexts, len(self.ridge_mean) // contexts.shape[1]) - self.ridge_mean
        return contexts[-1, channel] + self.ridge_offset[channel] + inputs @ self.ridge_weights[:, channel]


def fit_opinions(
    dataset: TrainingSeries,
    *,
    rank: int = 8,
    neighbours: int = 100,
    ridge_rows: int = 48,
    ridge_penalty: float = 0.25,
    stride: int = 2,
) -> Opinions:
    """Fit the forecasters to the training part of a series. This takes less than a second for ETTh1.

    Args:
        dataset: series; only ``windows("train", stride)`` is read.
        rank: number of directions in ``basis``.
        neighbours: number of analogues that are averaged, with equal weights.
        ridge_rows: number of last rows of every channel that the ridge sees.
        ridge_penalty: penalty on the squared weights, per training window.
        stride: number of rows between training windows.

    Raises:
        ValueError: if ``neighbours`` or ``rank`` is less than 1 or more than the training part allows.
    """
    contexts, futures, *_ = dataset.windows("train", stride)
    windows, horizon, channels = futures.shape
    if not 1 <= neighbours <= windows:
        raise ValueError(f"neighbours must be between 1 and the {windows} training windows, got {neighbours}")
    if not 1 <= rank <= min(horizon, windows):
        raise ValueError(f"rank must be between 1 and {min(horizon, windows)}, got {rank}")
    level, scale = _level(contexts)[:, None], _scale(contexts)[:, None]
    inputs = _ridge_inputs(contexts, ridge_rows)
    targets = (futures - contexts[:, -1:]).transpose(0, 2, 1).reshape(windows, -1).astype(float)
    mean, offset = inputs.mean(0), targets.mean(0)
    gram = (inputs - mean).T @ (inputs - mean) + ridge_penalty * windows * np.eye(inputs.shape[1])
    weights = np.linalg.solve(gram, (inputs - mean).T @ (targets - offset))
    residuals = targets - offset - (inputs - mean) @ weights
    residuals = residuals.reshape(windows, channels, horizon) / scale.transpose(0, 2, 1)
    return Opinions(
        keys=np.ascontiguousarray(((contexts - level) / scale).transpose(2, 0, 1), np.float32),
        values=np.ascontiguousarray(((futures - level) / scale).transpose(2, 0, 1), np.float32),
        ridge_mean=mean,
        ridge_weights=weights.reshape(-1, channels, horizon),
        ridge_offset=offset.reshape(channels, horizon),
        basis=_principal_components(residuals.reshape(-1, horizon), rank),
        neighbours=neighbours,
    )


def _principal_components(rows: Float[np.ndarray, "n horizon"], rank: int) -> Float[np.ndarray, "rank horizon"]:
    """Orthonormal directions of largest variance, in descending order."""
    _, vectors = np.linalg.eigh(np.cov(rows, rowvar=False))
    return np.ascontiguousarray(vectors[:, ::-1][:, :rank].T)


def _level(contexts: Float[np.ndarray, "*batch context C"]) -> Float[np.ndarray, "*batch C"]:
    return contexts[..., -DAY:, :].mean(-2)


def _scale(contexts: Float[np.ndarray, "*batch context C"]) -> Float[np.ndarray, "*batch C"]:
    return contexts.std(-2) + 1e-3


def _ridge_inputs(contexts: Float[np.ndarray, "*batch context C"], rows: int) -> Float[np.ndarray, "*batch F"]:
    last = contexts[..., -rows:, :] - contexts[..., -1:, :]
    return last.reshape(*last.shape[:-2], -1).astype(float)
