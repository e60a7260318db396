"""F_phi: a small network that knows what a state is worth.

    F(x_t) = base(x_t) + spread_t * MLP(features(x_t), t, lambda),     log_flow = lambda F ~ lambda V_t,   F(x_0) = r.

``base`` is the reward's own look-ahead r~ where it has one, and 0 where it has none; ``spread_t`` is the standard
deviation that the reward still has about the base at position t, so that the network's output is of order one
everywhere and its errors vanish towards x_0 as the reward becomes certain.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn


@dataclass(frozen=True)
class FlowConfig:
    """Sizes of a flow, and what it was made for.

    Attributes:
        num_features: of a state, see ``flow.inputs``.
        num_positions: of the process's walk, root and x_0 included.
        look_ahead: whether base and features come from the reward's look-ahead; else features are the process's own.
        hidden, depth: width and number of hidden layers.
        min_inv_temperature, max_inv_temperature: lambdas that it is trained for.
    """

    num_features: int
    num_positions: int
    look_ahead: bool
    hidden: int = 64
    depth: int = 2
    min_inv_temperature: float = 1.0
    max_inv_temperature: float = 100.0

    def __post_init__(self) -> None:
        for name in ("num_features", "hidden", "depth"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} of a flow must be at least 1, got {getattr(self, name)}")
        if self.num_positions < 2:
            raise ValueError(f"a process has at least 2 positions, root and x_0, got {self.num_positions}")
        if not 0 < self.min_inv_temperature <= self.max_inv_temperature < math.inf:
            raise ValueError(
                f"inverse temperatures must satisfy 0 < min <= max, got {self.min_inv_temperature} and "
                f"{self.max_inv_temperature}"
            )


class FlowNetwork(nn.Module):
    """log_flow = lambda F of states between the root and x_0.

    Buffers ``mean`` and ``scale`` [F] standardise the features, ``spread`` [positions] is that of the reward about the
    base; they are set from data before training. ``tilt`` [positions] is the standard deviation of F among siblings,
    set after it; 0 where it is not known.
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
        log_lam = torch.stack([lam.log(), (lam * spread).clamp_min(1e-3).log()], dim=1)
        h = self.input((features - self.mean) / self.scale) + self.position(position) + self.inv_temperature(log_lam)
        h = nn.functional.silu(h)
        for layer in self.layers:
            h = h + nn.functional.silu(layer(h))
        return lam * (base + spread * self.output(h)[:, 0])

    @property
    def multiply_adds(self) -> int:
        """Of one row."""
        c = self.config
        return c.num_features * c.hidden + c.depth * c.hidden**2 + c.hidden
