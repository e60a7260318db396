"""F_phi: a small network that estimates the soft value of a state.

    F(x_t) = base(x_t) + spread_t * MLP(features(x_t), t, lambda),     log_flow = lambda F ~ lambda V_t,   F(x_0) = r.

``base`` is the reward's own look-ahead r~, or 0 if it has none. ``spread_t`` is the standard deviation of the reward
about the base at position t. So the network's output is of order one at every position, and its errors vanish towards
x_0, where the reward becomes certain. If there are features per frequency, one small network is applied to every
frequency, and the sum is a further input.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

_GROUP = 16  # width of the network of one frequency
_USUAL_LOG_LAM = 3.0  # centre of log lambda


@dataclass(frozen=True)
class FlowConfig:
    """Sizes and scope of a flow.

    Attributes:
        num_features: number of features of a state, see ``flow.inputs``.
        num_positions: number of positions of the process's walk, with root and x_0.
        look_ahead: whether base and features come from the reward's look-ahead. Otherwise the process gives the
            features and the base is 0.
        hidden, depth: width and number of hidden layers.
        groups: number of frequencies G with two features each; 0 for none. They are the first 2 G features: all first
            ones, then all second ones.
        min_inv_temperature, max_inv_temperature: range of lambda in the training.

    Raises ValueError for a size or range that is not possible.
    """

    num_features: int
    num_positions: int
    look_ahead: bool
    hidden: int = 64
    depth: int = 2
    min_inv_temperature: float = 1.0
    max_inv_temperature: float = 100.0
    groups: int = 0

    def __post_init__(self) -> None:
        for name in ("num_features", "hidden", "depth"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} of a flow must be at least 1, got {getattr(self, name)}")
        if not 0 <= 2 * self.groups <= self.num_features:
            raise ValueError(f"{self.groups} groups need {2 * self.groups} features, there are {self.num_features}")
        if self.num_positions < 2:
            raise ValueError(f"a process has at least 2 positions, root and x_0, got {self.num_positions}")
        if not 0 < self.min_inv_temperature <= self.max_inv_temperature < math.inf:
            raise ValueError(
                f"inverse temperatures must satisfy 0 < min <= max, got {self.min_inv_temperature} and "
                f"{self.max_inv_temperature}"
            )


class FlowNetwork(nn.Module):
    """log_flow = lambda F of states between the root and x_0.

    The buffers ``mean`` and ``scale`` [F] standardise the features. ``spread`` [positions] is the spread of the reward
    about the base. They are set from data before training. ``tilt`` [positions] is the standard deviation of F among
    siblings; it is set after training and is 0 if it is not known.
    """

    mean: Tensor
    scale: Tensor
    spread: Tensor
    tilt: Tensor

    def __init__(self, config: FlowConfig) -> None:
        super().__init__()
        self.config = config
        hidden = config.hidden
        self.position = nn.Embedding(config.num_positions, hidden)
        self.inv_temperature = nn.Linear(2, hidden)
        self.input = nn.Linear(config.num_features, hidden)
        self.groups = GroupedFeatures(config.groups, config.num_positions) if config.groups else None
        if self.groups is not None:
            self.joined = nn.Linear(_GROUP, hidden)
        self.layers = nn.ModuleList(nn.Linear(hidden, hidden) for _ in range(config.depth))
        self.output = nn.Linear(hidden, 1)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)
        self.register_buffer("mean", torch.zeros(config.num_features))
        self.register_buffer("scale", torch.ones(config.num_features))
        self.register_buffer("spread", torch.ones(config.num_positions))
        self.register_buffer("tilt", torch.zeros(config.num_positions))

    def forward(
        self,
        features: Float[Tensor, "B F"],
        base: Float[Tensor, " B"],
        position: Int[Tensor, " B"],
        lam: Float[Tensor, " B"],
    ) -> Float[Tensor, " B"]:
        spread = self.spread[position]
        log_lam = torch.stack([lam.log() - _USUAL_LOG_LAM, (lam * spread).clamp_min(1e-3).log()], dim=1)
        h = self.input((features - self.mean) / self.scale) + self.position(position) + self.inv_temperature(log_lam)
        h = nn.functional.silu(h)
        by_frequency: Tensor | float = 0.0
        if self.groups is not None:
            sums = self.groups(features, position, log_lam)
            h, by_frequency = h + self.joined(sums), self.groups.output(sums)[:, 0]
        for layer in self.layers:
            h = h + nn.functional.silu(layer(h))
        return lam * (base + spread * (self.output(h)[:, 0] + by_frequency))

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds per row."""
        c = self.config
        by_frequency = c.groups * (_GROUP**2 + 4 * _GROUP) + (_GROUP * c.hidden if c.groups else 0)
        return c.num_features * c.hidden + c.depth * c.hidden**2 + c.hidden + by_frequency


class GroupedFeatures(nn.Module):
    """A sum over frequencies of one small network, which also gets an embedding of the frequency.

    A spectral reward is a sum over frequencies. Given x_t they are nearly independent, so its soft value is nearly a
    sum as well. All frequencies share the weights, so every context gives many training examples.
    """

    def __init__(self, groups: int, num_positions: int) -> None:
        super().__init__()
        self.frequency = nn.Embedding(groups, _GROUP)
        self.position = nn.Embedding(num_positions, _GROUP)
        self.inv_temperature = nn.Linear(2, _GROUP, bias=False)
        self.input = nn.Linear(3, _GROUP)
        self.layer = nn.Linear(_GROUP, _GROUP)
        self.output = nn.Linear(_GROUP, 1)
        nn.init.normal_(self.frequency.weight, 0.0, 0.1)
        nn.init.normal_(self.position.weight, 0.0, 0.3)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(
        self, features: Float[Tensor, "B F"], position: Int[Tensor, " B"], log_lam: Float[Tensor, "B 2"]
    ) -> Float[Tensor, "B H"]:
        """The sum over frequencies, divided by sqrt(groups) so that it is of order one."""
        groups = self.frequency.num_embeddings
        first, second = features[:, :groups], features[:, groups : 2 * groups]
        given = torch.stack([first, first.abs(), second / 2], -1)
        state = self.position(position) + self.inv_temperature(log_lam)
        h = nn.functional.silu(self.input(given) + self.frequency.weight + state[:, None])
        h = h + nn.functional.silu(self.layer(h))
        return h.sum(1) / math.sqrt(groups)
