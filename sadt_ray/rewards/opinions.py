"""Three cheap forecasts that the prior did not make: yesterday repeated, nearest analogues, ridge on all channels.

Nothing here has seen anything but the training part. The forecasts are opinions for ``second_opinion.py``, chosen to
err differently from a channel-independent network rather than to be good: the ridge sees the other channels, the
analogues see single remembered cases.
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
    """A multichannel series whose training part can be cut into windows, for example ``SeriesDataset``."""

    def windows(self, split: str, stride: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Contexts [n, context, C], futures [n, horizon, C] and first target rows [n] of a part."""


@dataclass(frozen=True)
class Opinions:
    """What the training part taught: a library of analogues, ridge weights, directions in which forecasts err.

    Analogues are compared relative to the mean of their last day (the *level*) and in units of the context's standard
    deviation (the *scale*), the ridge works relative to the last value.
    """

    keys: Float[np.ndarray, "C n context"]  # normalised training contexts
    values: Float[np.ndarray, "C n horizon"]  # normalised training futures
    ridge_mean: Float[np.ndarray, " F"]  # F = ridge_rows * C: last rows of every channel
    ridge_weights: Float[np.ndarray, "F C horizon"]
    ridge_offset: Float[np.ndarray, "C horizon"]
    basis: Float[np.ndarray, "rank horizon"]  # Q: principal components of the ridge's training residuals
    neighbours: int

    def __call__(self, problem: Problem) -> Float[np.ndarray, "3 horizon"]:
        """The three forecasts of a problem that carries ``extras["all_contexts"]`` and ``extras["channel"]``.

        Raises ValueError naming a problem without them or of another context length or number of channels.
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
    """Learn from the training part of a series; well under a second for ETTh1.

    Args:
        dataset: whose ``windows("train", stride)`` are used, and nothing else of it.
        rank: directions kept in ``basis``.
        neighbours: analogues averaged, equally weighted.
        ridge_rows: the last rows of every channel that the ridge sees.
        ridge_penalty: of the squared weights, per training window.
        stride: rows between training windows.

    Raises:
        ValueError: for more analogues or directions than the training part has.
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
    """Orthonormal directions of largest variance, the largest first."""
    _, vectors = np.linalg.eigh(np.cov(rows, rowvar=False))
    return np.ascontiguousarray(vectors[:, ::-1][:, :rank].T)


def _level(contexts: Float[np.ndarray, "*batch context C"]) -> Float[np.ndarray, "*batch C"]:
    return contexts[..., -DAY:, :].mean(-2)


def _scale(contexts: Float[np.ndarray, "*batch context C"]) -> Float[np.ndarray, "*batch C"]:
    return contexts.std(-2) + 1e-3


def _ridge_inputs(contexts: Float[np.ndarray, "*batch context C"], rows: int) -> Float[np.ndarray, "*batch F"]:
    last = contexts[..., -rows:, :] - contexts[..., -1:, :]
    return last.reshape(*last.shape[:-2], -1).astype(float)
