"""A walk over texts, block by block, for particle systems. Texts that have ended stay as they are and cost nothing."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int, UInt64
from torch import Tensor

from sadt_ray.interfaces import States
from sadt_ray.processes.language.protocols import TextsInProgress
from sadt_ray.processes.walk import Choice, View


class TextWalk:
    """B texts. Position 0 is the root, position p > 0 is step ``blocks.steps[p - 1]`` of the chain.

    Keys and values are looked up by text (``node_cache``), so copying and dropping rows only concerns their states.
    """

    def __init__(self, chain: TextsInProgress, states: States, position: int, problem: Int[np.ndarray, " B"]) -> None:
        self._chain, self._states, self._problem, self.position = chain, states, np.asarray(problem), position
        self._steps = (-1, *chain.process.blocks.steps)
        self._nfe = np.zeros(len(states), np.int64)

    def states(self) -> States:
        return self._states

    def look(self, gradient: bool = False) -> View:
        return View(self.position, self._problem, None, self._features)

    def evaluate(self) -> None:
        """Nothing to do: a text is evaluated once for all rows that continue it."""

    def take(self, rows: Int[np.ndarray, " n"]) -> None:
        self._states, self._problem, self._nfe = self._states[rows], self._problem[rows], self._nfe[rows]

    def gradient(self, log_twist: Float[Tensor, " B"]) -> Tensor:
        raise ValueError("texts have no gradients; use a method without them")

    def step(
        self, seeds: UInt64[np.ndarray, " B"], gradient: Tensor | None = None, choice: Choice | None = None
    ) -> Float[np.ndarray, " B"] | None:
        """Draw one block from the prior; the last step draws the rest of the text."""
        count, step, stop = len(self._states), self._steps[self.position], self._steps[self.position + 1]
        rows = self._chain.draw(
            self._states, self._problem, seeds, np.full(count, step), np.full(count, stop), every_step=True
        )
        self._nfe = self._nfe + self._chain.drawn(self._states, rows)
        self._states, self.position = self._chain.states_of(rows), self.position + 1
        return None

    def take_nfe(self) -> Int[np.ndarray, " B"]:
        spent, self._nfe = self._nfe, np.zeros(len(self._states), np.int64)
        return spent

    def _features(self) -> Tensor:
        levels = np.full(len(self._states), self.position)
        return torch.as_tensor(self._chain.features(self._states, levels, self._problem), dtype=torch.float32)
