"""Conditional logit: the probability of each answer of a problem, from one row of features per answer (McFadden 1974).

    P(k) = exp(w . x_k) / sum_j exp(w . x_j)

With the logarithm of a vote, a spectral reward and indicators of claims as features it is a log-linear pool,
vote^a exp(b reward + c_claim), with weights fitted to labelled answers.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import minimize
from scipy.special import log_softmax

from sadt_ray.opentslm.rewards.logistic import LogisticHead


def fit_choice(
    rows: Sequence[Float[np.ndarray, "answers F"]], gold: Int[np.ndarray, " n"], ridge: float
) -> LogisticHead:
    """Fit w by maximum likelihood with the penalty ridge / 2 |w|^2 on standardised features.

    A feature that is equal for all answers of a problem has no effect.
    """
    scale = np.sqrt(np.mean(np.concatenate([(x - x.mean(0)) ** 2 for x in rows]), axis=0))
    scale = np.where(scale > 1e-9, scale, 1.0)
    x = np.zeros((len(rows), max(len(row) for row in rows), len(scale)))
    there = np.zeros(x.shape[:2], dtype=bool)
    for p, row in enumerate(rows):
        x[p, : len(row)], there[p, : len(row)] = row / scale, True
    right = x[np.arange(len(rows)), gold]

    def loss(w: np.ndarray) -> tuple[float, np.ndarray]:
        log_p = log_softmax(np.where(there, x @ w, -np.inf), axis=1)
        gradient = np.einsum("pk,pkf->f", np.exp(log_p), x) - right.sum(0)
        return float(ridge / 2 * w @ w - log_p[np.arange(len(rows)), gold].sum()), gradient + ridge * w

    found = minimize(loss, np.zeros(len(scale)), jac=True, method="L-BFGS-B", options={"maxiter": 500})
    return LogisticHead(np.zeros(len(scale)), scale, found.x, 0.0)


def log_choice(head: LogisticHead, rows: Float[np.ndarray, "answers F"]) -> Float[np.ndarray, " answers"]:
    """log P of each answer."""
    return log_softmax(head.logits(rows))


def held_out_choice(
    log_probs: Sequence[Float[np.ndarray, " answers"]], gold: Int[np.ndarray, " n"]
) -> dict[str, float]:
    """Log-loss in nats per problem and accuracy, on problems that were left out of the fit."""
    own = [row[answer] for row, answer in zip(log_probs, gold, strict=True)]
    right = [row.argmax() == answer for row, answer in zip(log_probs, gold, strict=True)]
    return {"held_out_log_loss": float(-np.mean(own)), "held_out_accuracy": float(np.mean(right))}
