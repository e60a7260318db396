"""Losses of a flow: residuals of flow balance, and regression functions of them.

Let z_1..z_K be children of x, drawn from q, with rho_k = log p/q (0 for draws from the prior). Then

    log E_z = log (1/K) sum_k exp(log_flow(z_k) + rho_k)   ~   log E_p(z|x) exp(lambda V(z)),
    delta(x) = log_flow(x) - log E_z,                      log_flow = lambda F, log_flow(x_0) = lambda r,

is the residual of one step: detailed balance (DB), or the soft Bellman equation. It is 0 for all x if and only if
F = V. The densities of the prior cancel. Trajectory balance (TB; Malkin et al., *Trajectory balance: improved credit
assignment in GFlowNets*, 2022), in the form of S-ADT,

    log Z_phi + sum_t [lambda F(x_{t-1}) - log E_z exp(lambda F(z))] - lambda r   =   sum_t delta(x_t),

is the sum of the residuals along a path from the root, whose flow is Z. Sub-trajectory balance (SubTB; Madan et al.,
2023) uses every part of the path. The residuals of single steps determine the flow. Their sum does not: a constant that
is added to all children of a node cancels in the next term, so the sum compares siblings, but not children of different
parents. The network is forward-looking (Pan et al., 2023): it is added to a base, the reward's look-ahead.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

_LARGEST_CV2 = 4.0  # bound on the estimated CV^2 of K weights
_LINEAR_FROM = 3.0  # nats from which linex is linear, so that one outlier does not dominate the batch

Regression = Callable[[Tensor], Tensor]


def log_mean(
    log_flow: Float[Tensor, "*N K"],
    log_ratio: Float[Tensor, "*N K"],
    held: Bool[Tensor, "*N K"],
    corrected: bool = False,
) -> Float[Tensor, "*N"]:
    """log E_z over the children in the mask ``held``; every row has at least one.

    Enumerated children with probabilities p_k have log_ratio = log p_k + log K. The log of a mean of K draws is biased:
    E[log E_z] ~ log E - CV^2 / 2K. ``corrected`` adds CV^2 / 2K, estimated from the K weights.
    """
    log_weights = (log_flow + log_ratio).masked_fill(~held, -math.inf)
    count = held.sum(-1)
    log_e = torch.logsumexp(log_weights, -1) - count.to(log_weights).log()
    return log_e + _half_cv2(log_weights.detach(), count) if corrected else log_e


def _half_cv2(log_weights: Float[Tensor, "*N K"], count: Int[Tensor, "*N"]) -> Float[Tensor, "*N"]:
    """CV^2 / 2K of the weights, with CV^2 at most ``_LARGEST_CV2``."""
    squares = torch.softmax(log_weights, -1).square().sum(-1)
    cv2 = (count * squares - 1) * count / (count - 1).clamp_min(1)
    return cv2.clamp(0.0, _LARGEST_CV2) / (2 * count)


def trajectory_residual(
    steps: Float[Tensor, "N T"], held: Bool[Tensor, "N T"], log_z: Float[Tensor, " N"]
) -> Float[Tensor, " N"]:
    """TB with a learned log Z. ``steps`` are the residuals along a path; column 0 is -log E_z of the root."""
    return log_z + (steps * held).sum(1)


def variance_residual(
    steps: Float[Tensor, "N T"], held: Bool[Tensor, "N T"], group: Int[Tensor, " N"]
) -> Float[Tensor, " N"]:
    """TB with log Z replaced by the mean over the paths of a ``group`` (one problem at one lambda).

    The loss is then their variance. The root's column is the same for all paths of a group and drops out (Richter et
    al., *VarGrad*, 2020).
    """
    total = (steps * held)[:, 1:].sum(1)
    none = total.new_zeros(int(group.max()) + 1)
    mean = none.index_add(0, group, total) / none.index_add(0, group, torch.ones_like(total)).clamp_min(1)
    return total - mean[group]


def sub_trajectory_residuals(
    steps: Float[Tensor, "N T"], held: Bool[Tensor, "N T"], decay: float
) -> tuple[Float[Tensor, "N S"], Float[Tensor, "N S"]]:
    """SubTB: the sum of residuals over every part of every path below the root, with the weight decay^(length - 1).

    The weights of a path sum to one. decay = 0 gives the residuals of single steps, a large decay that of whole paths.

    Returns:
        Sums and weights of the S parts of each path.
    """
    below, there = (steps * held)[:, 1:], held[:, 1:]
    sums = torch.nn.functional.pad(below.cumsum(1), (1, 0))
    lengths = torch.nn.functional.pad(there.long().cumsum(1), (1, 0))
    first, last = torch.triu_indices(sums.shape[1], sums.shape[1], 1, device=steps.device)
    whole = there[:, first] & there[:, last - 1]  # begins and ends at a node that exists
    length = lengths[:, last] - lengths[:, first]
    weight = torch.where(whole, torch.tensor(float(decay), device=steps.device) ** (length - 1).clamp_min(0), 0.0)
    return sums[:, last] - sums[:, first], weight / weight.sum(1, keepdim=True).clamp_min(1e-12)


def squared(residual: Tensor) -> Tensor:
    """delta^2 / 2."""
    return residual.square() / 2


def huber(residual: Tensor) -> Tensor:
    """delta^2 / 2 up to one nat, |delta| - 1/2 beyond."""
    return torch.nn.functional.huber_loss(residual, torch.zeros_like(residual), reduction="none")


def linex(residual: Tensor) -> Tensor:
    """exp(-delta) + delta - 1, linear beyond ``-_LINEAR_FROM``.

    For one step it is E_z exp(log_flow(z) - log_flow(x)) + log_flow(x), up to terms that do not depend on log_flow(x).
    It is linear in the children's exponentials, so its gradient is unbiased for any number of children, even one.
    """
    bounded = residual.clamp_min(-_LINEAR_FROM)
    return torch.exp(-bounded) + residual - 1 + (bounded - residual) * math.exp(_LINEAR_FROM)


REGRESSIONS: dict[str, Regression] = {"squared": squared, "huber": huber, "linex": linex}


class Term(NamedTuple):
    """One balance condition of a loss."""

    name: str  # db, tb, tb-var or subtb
    weight: float
    decay: float  # decay of subtb

    @property
    def of_paths(self) -> bool:
        """Whether the condition needs whole paths."""
        return self.name != "db"


def parse_loss(text: str) -> tuple[Term, ...]:
    """Parse ``db``, ``tb``, ``tb-var``, ``subtb-0.9``, or a sum such as ``0.2*tb-var + db``.

    Raises ValueError for another name.
    """
    terms = []
    for part in text.split("+"):
        found = re.fullmatch(r"\s*(?:([\d.]+)\s*\*\s*)?(?:(db|tb-var|tb|subtb)|(subtb)-([\d.]+))\s*", part)
        if found is None:
            raise ValueError(f"unknown loss {part.strip()!r}; use db, tb, tb-var or subtb-0.9, or a sum of them")
        weight, name, sub_name, decay = found.groups()
        terms.append(Term(name or sub_name, float(weight or 1), float(decay or 0.9)))
    return tuple(terms)


def path_loss(
    term: Term,
    steps: Float[Tensor, "N T"],
    held: Bool[Tensor, "N T"],
    group: Int[Tensor, " N"],
    log_z: Float[Tensor, " N"],
    regression: Regression,
) -> Float[Tensor, ""]:
    """Mean loss of a condition on whole paths."""
    if term.name == "tb":
        return regression(trajectory_residual(steps, held, log_z)).mean()
    if term.name == "tb-var":
        return regression(variance_residual(steps, held, group)).mean()
    residuals, weights = sub_trajectory_residuals(steps, held, term.decay)
    return (weights * regression(residuals)).sum(1).mean()
