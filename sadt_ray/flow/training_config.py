"""Settings of the training of a flow."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from sadt_ray.flow.losses import REGRESSIONS, parse_loss
from sadt_ray.flow.network import FlowConfig

Schedule = Literal["one-cycle", "constant"]
_WARM_UP = 0.2  # share of a cycle
_WARM_UP_STEPS = 100  # with a constant rate


@dataclass(frozen=True)
class TrainingConfig:
    """Settings of a training.

    The defaults are for finished trajectories. A learner beside a search uses ``schedule="constant"``.
    """

    lr: float = 4e-3
    """Highest learning rate of Adam."""
    schedule: Schedule = "one-cycle"
    """one-cycle: the rate rises and falls over ``steps``; constant: for a training without an end."""
    steps: int = 4_000
    """Number of steps of the cycle."""
    batch: int = 256
    """Number of sibling groups per step; a loss with paths uses as many again on paths."""
    siblings: int = 8
    """Largest number of children of a sibling group that are used at once."""
    min_siblings: int = 4
    """Smallest number of children of a sibling group; nodes with fewer children are left out."""
    loss: str = "db"
    """db, tb, tb-var, subtb-0.9, or a weighted sum such as 0.2*tb-var + db; see ``flow.losses``."""
    regression: str = "huber"
    """squared, huber or linex."""
    correct_bias: bool = True
    """Whether to correct the log-mean over siblings for their small number. Use False for enumerated siblings."""
    target_average: bool = False
    """Whether the averaged weights give the flow of the children, without gradient."""
    min_inv_temperature: float = 5.0
    """Smallest lambda. The lambda of a sibling group is drawn log-uniformly."""
    max_inv_temperature: float = 80.0
    """Largest lambda."""
    average: float = 0.998
    """Decay of the averaged weights, which are validated and published."""
    validation_share: float = 0.15
    """Share of the contexts that are held out."""
    validate_every: int = 200
    """Number of steps between validations."""
    patience: int = 10
    """Number of validations without a better loss after which the training may stop."""
    max_rows: int = 1_000_000
    """Largest number of rows in memory; the oldest are dropped first."""
    hidden: int = 32
    """Width of the network."""
    depth: int = 1
    """Number of hidden layers after the first."""
    seed: int = 0
    """Seed of the initial weights and the batches."""

    def __post_init__(self) -> None:
        parse_loss(self.loss)
        if self.regression not in REGRESSIONS:
            raise ValueError(f"no regression is called {self.regression!r}; choose one of {', '.join(REGRESSIONS)}")
        if self.schedule not in get_args(Schedule):
            raise ValueError(f"schedule must be one of {', '.join(get_args(Schedule))}, got {self.schedule!r}")
        if not 0 < self.lr < math.inf:
            raise ValueError(f"the learning rate must be a positive number, got {self.lr}")
        for name in ("steps", "batch", "siblings", "validate_every", "patience", "max_rows"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 2 <= self.min_siblings <= self.siblings:
            raise ValueError(f"min_siblings must be 2 to siblings = {self.siblings}, got {self.min_siblings}")
        for name in ("average", "validation_share"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be in [0, 1), got {getattr(self, name)}")
        self.flow_config(1, 2, False)  # checks the rest

    def flow_config(self, num_features: int, num_positions: int, look_ahead: bool, groups: int = 0) -> FlowConfig:
        """Sizes of the network."""
        return FlowConfig(
            num_features,
            num_positions,
            look_ahead,
            self.hidden,
            self.depth,
            self.min_inv_temperature,
            self.max_inv_temperature,
            groups,
        )

    def learning_rate(self, step: int) -> float:
        """Learning rate of a step, counted from 0."""
        if self.schedule == "constant":
            return self.lr * min(1.0, (step + 1) / _WARM_UP_STEPS)
        done = min(step / self.steps, 1.0)
        if done < _WARM_UP:
            return self.lr * (1 - 0.96 * (1 + math.cos(math.pi * done / _WARM_UP)) / 2)
        return self.lr * (1e-3 + (1 - 1e-3) * (1 + math.cos(math.pi * (done - _WARM_UP) / (1 - _WARM_UP))) / 2)
