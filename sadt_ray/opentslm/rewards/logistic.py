"""Logistic regression on a few columns: the probability that a text is right."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.special import expit, log_expit
from scipy.stats import rankdata

_ITERATIONS, _TOLERANCE = 100, 1e-9


@dataclass(frozen=True)
class LogisticHead:
    """P(right) = sigmoid(weights . (features - mean) / scale + bias)."""

    mean: Float[np.ndarray, " F"]
    scale: Float[np.ndarray, " F"]
    weights: Float[np.ndarray, " F"]
    bias: float

    def logits(self, features: Float[np.ndarray, "n F"]) -> Float[np.ndarray, " n"]:
        return ((features - self.mean) / self.scale) @ self.weights + self.bias


def fit_logistic(rows: Float[np.ndarray, "n F"], target: Float[np.ndarray, " n"], ridge: float) -> LogisticHead:
    """Maximum likelihood with a ridge penalty, by Newton's method. Targets lie in [0, 1]. The bias is not penalised."""
    mean, scale = rows.mean(0), rows.std(0)
    scale = np.where(scale > 1e-9, scale, 1.0)
    x = np.column_stack([(rows - mean) / scale, np.ones(len(rows))])
    penalty = np.append(np.full(rows.shape[1], ridge), 1e-6)
    share = np.clip(target.mean(), 1e-3, 1 - 1e-3)
    w = np.append(np.zeros(rows.shape[1]), np.log(share / (1 - share)))
    for _ in range(_ITERATIONS):
        p = expit(x @ w)
        gradient = x.T @ (p - target) + penalty * w
        step = np.linalg.solve((x * (p * (1 - p))[:, None]).T @ x + np.diag(penalty), gradient)
        shrink = 1.0
        while _loss(x, target, penalty, w - shrink * step) > _loss(x, target, penalty, w) and shrink > 1e-6:
            shrink /= 2
        w = w - shrink * step
        if np.abs(shrink * step).max() < _TOLERANCE:
            break
    return LogisticHead(mean, scale, w[:-1], float(w[-1]))


def held_out_facts(logits: Float[np.ndarray, " n"], target: Float[np.ndarray, " n"]) -> dict[str, float]:
    """Log-loss in nats per text, that of the mean alone, and AUC: how often a right text is above a wrong one."""
    share = np.clip(target.mean(), 1e-12, 1 - 1e-12)
    rank = rankdata(logits)  # ties share a rank
    positive = target > 0.5
    n, m = int(positive.sum()), int((~positive).sum())
    auc = (rank[positive].sum() - n * (n + 1) / 2) / (n * m) if n and m else 0.5
    return {
        "held_out_log_loss": float(-np.mean(target * log_expit(logits) + (1 - target) * log_expit(-logits))),
        "log_loss_of_the_mean": float(-(share * np.log(share) + (1 - share) * np.log(1 - share))),
        "held_out_auc": float(auc),
    }


def _loss(x: np.ndarray, target: np.ndarray, penalty: np.ndarray, w: np.ndarray) -> float:
    logits = x @ w
    return float(-(target * log_expit(logits) + (1 - target) * log_expit(-logits)).sum() + penalty @ w**2 / 2)
