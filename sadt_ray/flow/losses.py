"""What a flow is trained on: residuals of flow balance, and functions that turn them into a loss.

With K children z_k of x, drawn from q with rho_k = log p/q (0 where they were drawn from the prior itself),

    log E_z = log (1/K) sum_k exp(log_flow(z_k) + rho_k)   ~   log E_p(z|x) exp(lambda V(z)),
    delta(x) = log_flow(x) - log E_z,                      log_flow = lambda F, log_flow(x_0) = lambda r,

is the residual of one step: detailed balance, or the soft Bellman equation. It is 0 for all x exactly if F = V. The
densities of the prior cancel. Trajectory balance (Malkin et al., *Trajectory balance: improved credit assignment in
GFlowNets*, 2022), as S-ADT has it,

    log Z_phi + sum_t [lambda F(x_{t-1}) - log E_z exp(lambda F(z))] - lambda r   =   sum_t delta(x_t),

is the sum of these along a path from the root, whose flow is Z; sub-trajectory balance (Madan et al., 2023) takes every
part of the path. A step's residual fixes the flow. A sum of them does not: whatever is added to all children of a node
is taken off again in the next term, so it tells siblings apart, not cousins. The network is forward-looking (Pan et
al., 2023): what the reward already promises is the base that it is added to.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

_LARGEST_CV2 = 4.0  # of K weights; a family that says more of its variance is believed no further
_LINEAR_FROM = 3.0  # nats from which linex grows no faster: one unlucky family is not the whole batch

Regression = Callable[[Tensor], Tensor]


def log_mean(
    log_flow: Float[Tensor, "*N K"],
    log_ratio: Float[Tensor, "*N K"],
    held: Bool[Tensor, "*N K"],
    corrected: bool = False,
) -> Float[Tensor, "*N"]:
    """log E_z of the children that are ``held``, at least one of each row.

    Enumerated children with probabilities p_k have log_ratio = log p_k + log K. The logarithm of a mean of K is
    E[log E_z] ~ log E - CV^2 / 2K on average; ``corrected`` gives that back, as far as the K weights tell it.
    """
    log_weights = (log_flow + log_ratio).masked_fill(~held, -math.inf)
    count = held.sum(-1)
    log_e = torch.logsumexp(log_weights, -1) - count.to(log_weights).log()
    return log_e + _half_cv2(log_weights.detach(), count) if corrected else log_e


def _half_cv2(log_weights: Float[Tensor, "*N K"], count: Int[Tensor, "*N"]) -> Float[Tensor, "*N"]:
    """CV^2 / 2K of the weights."""
    squares = torch.softmax(log_weights, -1).square().sum(-1)
    cv2 = (count * squares - 1) * count / (count - 1).clamp_min(1)
    return cv2.clamp(0.0, _LARGEST_CV2) / (2 * count)


def trajectory_residual(
    steps: Float[Tensor, "N T"], held: Bool[Tensor, "N T"], log_z: Float[Tensor, " N"]
) -> Float[Tensor, " N"]:
    """TB with a learned log Z. ``steps`` are residuals down a path, column 0 minus log E_z of the root's children."""
    return log_z + (steps * held).sum(1)


def variance_residual(
    steps: Float[Tensor, "N T"], held: Bool[Tensor, "N T"], group: Int[Tensor, " N"]
) -> Float[Tensor, " N"]:
    """TB with log Z = the mean over the paths of a ``group``, a problem at one lambda: what is left is their variance.

    The root's own column is the same for all of them and drops out (Richter et al., *VarGrad*, 2020).
    """
    total = (steps * held)[:, 1:].sum(1)
    none = total.new_zeros(int(group.max()) + 1)
    mean = none.index_add(0, group, total) / none.index_add(0, group, torch.ones_like(total)).clamp_min(1)
    return total - mean[group]


def sub_trajectory_residuals(
    steps: Float[Tensor, "N T"], held: Bool[Tensor, "N T"], decay: float
) -> tuple[Float[Tensor, "N S"], Float[Tensor, "N S"]]:
    """SubTB: the sum of residuals over every part of every path below the root, and its weight decay^(length - 1).

    Weights of each path sum to one. decay 0 is the residual of a step, a large one that of the whole path.
    """
    below, there = (steps * held)[:, 1:], held[:, 1:]
    sums = torch.nn.functional.pad(below.cumsum(1), (1, 0))
    lengths = torch.nn.functional.pad(there.long().cumsum(1), (1, 0))
    first, last = torch.triu_indices(sums.shape[1], sums.shape[1], 1, device=steps.device)
    whole = there[:, first] & there[:, last - 1]  # begins and ends at a node that is there
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
    """exp(-delta) + delta - 1, linear where exp(-delta) is large.

    Of one step it is E_z exp(log_flow(z) - log_flow(x)) + log_flow(x) up to what does not depend on log_flow(x), linear
    in the children's exponentials: its gradient is unbiased for any number of them, even one.
    """
    bounded = residual.clamp_min(-_LINEAR_FROM)
    return torch.exp(-bounded) + residual - 1 + (bounded - residual) * math.exp(_LINEAR_FROM)


REGRESSIONS: dict[str, Regression] = {"squared": squared, "huber": huber, "linex": linex}


class Term(NamedTuple):
    """One balance condition of a loss."""

    name: str  # db, tb, tb-var or subtb
    weight: float
    decay: float  # of subtb

    @property
    def of_paths(self) -> bool:
        return self.name != "db"


def parse_loss(text: str) -> tuple[Term, ...]:
    """``db``, ``tb``, ``tb-var``, ``subtb-0.9``, or a sum such as ``0.2*tb-var + db``. ValueError for others."""
    terms = []
    for part in text.split("+"):
        found = re.fullmatch(r"\s*(?:([\d.]+)\s*\*\s*)?(?:(db|tb-var|tb|subtb)|(subtb)-([\d.]+))\s*", part)
        if found is None:
            raise ValueError(f"no loss is called {part.strip()!r}; name db, tb, tb-var or subtb-0.9, or a sum of them")
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
    """The mean loss of a condition on whole paths."""
    if term.name == "tb":
        return regression(trajectory_residual(steps, held, log_z)).mean()
    if term.name == "tb-var":
        return regression(variance_residual(steps, held, group)).mean()
    residuals, weights = sub_trajectory_residuals(steps, held, term.decay)
    return (weights * regression(residuals)).sum(1).mean()
