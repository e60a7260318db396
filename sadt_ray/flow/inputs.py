"""The inputs of a flow: features from the reward's look-ahead, or the process's own features."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sadt_ray.interfaces import Chain, Scorer, States
from sadt_ray.processes.walk import KnowsResiduals, View, walk_from
from sadt_ray.rewards.look_ahead import LookAhead, LooksAhead
from sadt_ray.smc.twists import debiased_look_ahead

_ROWS = 8192  # rows per batch


class Inputs(NamedTuple):
    """The inputs of B states."""

    features: Float[Tensor, "B F"]
    base: Float[Tensor, " B"]  # r~, or 0 without a look-ahead


class FlowInputs:
    """Computes the inputs of a flow for bound problems.

    Args:
        chain, scorer: bound to the same problems.
        num_positions: number of positions of the chain's walk.
        look_ahead: whether to use the reward's look-ahead. None uses it if the scorer has one and the chain has
            ``residuals``.

    Raises:
        ValueError: if the look-ahead is demanded but not available.
    """

    def __init__(self, chain: Chain, scorer: Scorer, num_positions: int, look_ahead: bool | None = None) -> None:
        can = isinstance(scorer, LooksAhead) and isinstance(chain, KnowsResiduals)
        if look_ahead and not can:
            raise ValueError(
                f"this flow reads the look-ahead of a reward, but {type(scorer).__name__} with {type(chain).__name__} "
                "has none; train another flow for them"
            )
        self.look_ahead = can if look_ahead is None else look_ahead
        self.num_positions = num_positions
        self.groups = int(getattr(scorer, "feature_groups", 0)) if self.look_ahead else 0  # see FlowConfig
        self._chain = chain
        self._ahead: LookAhead | None = None
        if self.look_ahead:
            self._ahead = debiased_look_ahead(chain, scorer, num_positions, lam=0.0)

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds of the look-ahead, per row."""
        return 0 if self._ahead is None else self._ahead.multiply_adds

    @property
    def reward_calls(self) -> int:
        """Reward evaluations of the look-ahead, per row."""
        return 0 if self._ahead is None else self._ahead.reward_calls

    def of_view(self, view: View) -> Inputs:
        """Inputs of a view. They are differentiable in ``view.clean`` if there is a look-ahead."""
        if self._ahead is None:
            features = view.features()
            return Inputs(features, torch.zeros(len(features), device=features.device))
        assert view.clean is not None
        ahead = self._ahead(view.clean, view.position, view.problem, view.law)
        return Inputs(ahead.features.float(), ahead.value.float())

    @torch.no_grad()
    def of_states(
        self, states: States, positions: Int[np.ndarray, " R"], problem: Int[np.ndarray, " R"]
    ) -> tuple[Float[np.ndarray, "R F"], Float[np.ndarray, " R"], int]:
        """Features and base of states at any positions between the root and x_0, and their function evaluations."""
        features: np.ndarray | None = None
        base, nfe = np.zeros(len(states), np.float32), 0
        for position in np.unique(positions):
            rows = np.flatnonzero(positions == position)
            for part in np.array_split(rows, -(-len(rows) // _ROWS)):
                walk = walk_from(self._chain, states[part], int(position), problem[part])
                inputs = self.of_view(walk.look())
                if features is None:
                    features = np.zeros((len(states), inputs.features.shape[1]), np.float32)
                features[part], base[part] = inputs.features.cpu().numpy(), inputs.base.cpu().numpy()
                nfe += int(walk.take_nfe().sum())
        return (np.zeros((0, 0), np.float32) if features is None else features), base, nfe
