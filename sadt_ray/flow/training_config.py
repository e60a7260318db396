"""How a flow is trained."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from sadt_ray.flow.losses import REGRESSIONS, parse_loss
from sadt_ray.flow.network import FlowConfig

Schedule = Literal["one-cycle", "constant"]
_WARM_UP = 0.2  # of a cycle
_WARM_UP_STEPS = 100  # of a constant rate


@dataclass(frozen=True)
class TrainingConfig:
    """Settings of a training. The defaults are for trajectories that are all there; a learner beside a search takes
    ``schedule="constant"``."""

    lr: float = 4e-3
    """Highest learning rate of Adam."""
    schedule: Schedule = "one-cycle"
    """one-cycle: up and down over ``steps``; constant: for a training without an end."""
    steps: int = 4_000
    """Length of the cycle."""
    batch: int = 256
    """Groups of siblings per step, and as many again on paths if the loss has them."""
    siblings: int = 8
    """Most children of a family that are used at once."""
    min_siblings: int = 4
    """Nodes with fewer children are left out."""
    loss: str = "db"
    """db, tb, tb-var, subtb-0.9, or a weighted sum such as 0.2*tb-var + db; see ``flow.losses``."""
    regression: str = "huber"
    """squared, huber or linex."""
    correct_bias: bool = True
    """Whether the mean over siblings is corrected for their small number; not for siblings that were enumerated."""
    target_average: bool = False
    """Whether the children's flow is that of the averaged weights, without gradient."""
    min_inv_temperature: float = 5.0
    """Lambda of a family is drawn log-uniformly from here ..."""
    max_inv_temperature: float = 80.0
    """... to here."""
    average: float = 0.998
    """Decay of the averaged weights, which are validated and published."""
    validation_share: float = 0.15
    """Share of the contexts that is held out."""
    validate_every: int = 200
    """Steps."""
    patience: int = 10
    """Validations without a better loss after which a training may stop."""
    max_rows: int = 1_000_000
    """Rows held at most; the oldest go first."""
    hidden: int = 32
    """Width of the network."""
    depth: int = 1
    """Hidden layers behind the first."""
    seed: int = 0
    """Of initial weights and batches."""

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
        """Of the network that is trained."""
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
        """Of a step, counted from 0."""
        if self.schedule == "constant":
            return self.lr * min(1.0, (step + 1) / _WARM_UP_STEPS)
        done = min(step / self.steps, 1.0)
        if done < _WARM_UP:
            return self.lr * (1 - 0.96 * (1 + math.cos(math.pi * done / _WARM_UP)) / 2)
        return self.lr * (1e-3 + (1 - 1e-3) * (1 + math.cos(math.pi * (done - _WARM_UP) / (1 - _WARM_UP))) / 2)
