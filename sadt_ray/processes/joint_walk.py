"""A walk down several independent chains together: they are viewed, weighted and resampled as one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from jaxtyping import Float, Int, UInt64
from torch import Tensor

from sadt_ray.interfaces import States
from sadt_ray.numerics.clean_law import CleanLaw, Columns, Scores
from sadt_ray.numerics.rng import derive_seed_grid
from sadt_ray.processes.walk import Choice, StartsFromNoise, View, Walk, chosen

_PARTS, _CANDIDATES = 9, 7  # streams of a row's seed


@dataclass(frozen=True)
class Parts:
    """Conversion between B joint rows of C parts and B C rows of single parts. The parts of a row are adjacent."""

    count: int

    def apart(self, rows: np.ndarray) -> np.ndarray:
        """[B, C, ...] -> [B C, ...]."""
        return rows.reshape(-1, *rows.shape[2:])

    def together(self, rows: np.ndarray) -> np.ndarray:
        """[B C, ...] -> [B, C, ...]."""
        return rows.reshape(-1, self.count, *rows.shape[1:])

    def repeat(self, values: np.ndarray) -> np.ndarray:
        """Repeat the value of each joint row for all of its parts."""
        return np.repeat(np.asarray(values), self.count)

    def of_problem(self, problem: Int[np.ndarray, " B"]) -> Int[np.ndarray, " BC"]:
        """Indices of the parts: the parts of joint problem p are p C to p C + C - 1. Also converts row numbers."""
        return (np.asarray(problem)[:, None] * self.count + np.arange(self.count)).ravel()

    def joint_law(self, law: CleanLaw) -> CleanLaw:
        """The law of joint rows from that of their parts, which are independent."""
        rows, count = len(law) // self.count, self.count

        def stacked(column: Tensor) -> Tensor:
            return column.reshape(rows, count, *column.shape[1:])

        def by_part(function: Callable[[Tensor, Columns], Tensor], y: Tensor, conditioning: Columns) -> Tensor:
            """A function of [B C, K, n] and the conditioning of the parts, for joint coordinates [B, K, C n]."""
            apart = y.reshape(len(y), y.shape[1], count, -1).transpose(1, 2).flatten(0, 1)
            found = function(apart, tuple(column.flatten(0, 1) for column in conditioning))
            return found.reshape(len(y), count, *found.shape[1:]).transpose(1, 2)

        def whole(function: Callable[[Tensor, Columns], Tensor], value: Tensor, conditioning: Columns) -> Tensor:
            """A function of whole samples of the parts, for samples [B, C, ...] or what broadcasts to them."""
            places = conditioning[0].shape[:2]
            values = value.expand(*places, value.shape[-1])
            found = function(values.flatten(0, 1), tuple(column.flatten(0, 1) for column in conditioning))
            return found.reshape(*places, *found.shape[1:])

        scores = law.scores
        joint = scores and Scores(partial(by_part, scores.of), partial(whole, scores.at), partial(whole, scores.values))
        return CleanLaw(
            mean=law.mean.reshape(rows, -1),
            spread=law.spread.reshape(rows, -1),
            clean=stacked(law.clean),
            decode=partial(by_part, law.decode),
            conditioning=tuple(stacked(column) for column in law.conditioning),
            position=law.position,
            linear=law.linear,
            scores=joint,
        )

    def seeds(self, seeds: UInt64[np.ndarray, " B"]) -> UInt64[np.ndarray, " BC"]:
        """Derive a seed for every part."""
        return derive_seed_grid(seeds, _PARTS, self.count).ravel()


class JointWalk:
    """A walk of B joint rows: a walk of B C rows whose views are stacked and whose log p/q are summed per joint row."""

    def __init__(self, walk: Walk, parts: Parts, problem: Int[np.ndarray, " B"]) -> None:
        self._walk, self._parts, self._problem = walk, parts, np.asarray(problem)
        self._nfe = np.zeros(len(self._problem), np.int64)

    @property
    def position(self) -> int:
        return self._walk.position

    def states(self) -> States:
        return self._parts.together(self._walk.states())

    def look(self, gradient: bool = False) -> View:
        """A view with x0_hat [B, C, T] and the concatenated features of the parts."""
        return self._joined(self._walk.look(gradient))

    def _joined(self, view: View) -> View:
        """The view of the parts, stacked."""
        batch, parts = len(self._problem), self._parts
        clean = None if view.clean is None else view.clean.reshape(batch, parts.count, -1)
        law = None if view.law is None else parts.joint_law(view.law)
        return View(view.position, self._problem, clean, lambda: view.features().reshape(batch, -1), law)

    @property
    def noise_width(self) -> int:
        """Of all parts. Raises AttributeError for parts that do not start from noise."""
        return self._parts.count * self._starting.noise_width

    def view_from(self, noise: Float[Tensor, "B width"]) -> View:
        return self._joined(self._starting.view_from(noise.reshape(len(noise) * self._parts.count, -1)))

    def start(self, noise: Float[Tensor, "B width"]) -> None:
        self._starting.start(noise.reshape(len(noise) * self._parts.count, -1))

    @property
    def _starting(self) -> StartsFromNoise:
        if not isinstance(self._walk, StartsFromNoise):
            raise AttributeError(f"{type(self._walk).__name__} does not start from noise")
        return self._walk

    def evaluate(self) -> None:
        self._walk.evaluate()

    def take(self, rows: Int[np.ndarray, " n"]) -> None:
        self._collect()
        self._walk.take(self._parts.of_problem(rows))
        self._problem, self._nfe = self._problem[rows], self._nfe[rows]

    def gradient(self, log_twist: Float[Tensor, " B"]) -> Float[Tensor, "B C W"]:
        """Gradient of each row's log psi with respect to the x0_hat of its parts."""
        gradient = self._walk.gradient(log_twist)
        return gradient.reshape(len(self._problem), self._parts.count, *gradient.shape[1:])

    def step(
        self, seeds: UInt64[np.ndarray, " B"], gradient: Tensor | None = None, choice: Choice | None = None
    ) -> Float[np.ndarray, " B"] | None:
        """Move all parts to the next position. Candidates are joint rows and share the evaluations of their row."""
        if choice is None or self.position == 0:
            return self._stepped(seeds, gradient)
        count, batch = choice.candidates, len(seeds)
        self.evaluate()
        self._collect()
        nfe, self._nfe = self._nfe, np.zeros(batch, np.int64)
        rows = np.repeat(np.arange(batch), count)
        self.take(rows)
        along = None if gradient is None else gradient.repeat_interleave(count, dim=0)
        log_ratio = self._stepped(derive_seed_grid(seeds, _CANDIDATES, count).ravel(), along)
        log_ratio = np.zeros(len(rows)) if log_ratio is None else log_ratio
        log_weights = choice.log_twist(self.look()).double().cpu().numpy() + log_ratio
        pick, log_choice = chosen(log_weights.reshape(batch, count), seeds, self.position - 1)
        self._collect()
        nfe += self._nfe.reshape(batch, count).sum(1)
        picked = count * np.arange(batch) + pick
        self.take(picked)
        self._nfe = nfe
        return log_choice + log_ratio[picked]

    def take_nfe(self) -> Int[np.ndarray, " B"]:
        self._collect()
        spent, self._nfe = self._nfe, np.zeros(len(self._problem), np.int64)
        return spent

    def _stepped(self, seeds: np.ndarray, gradient: Tensor | None) -> Float[np.ndarray, " B"] | None:
        along = None if gradient is None else gradient.flatten(0, 1)
        log_ratio = self._walk.step(self._parts.seeds(seeds), along)
        return None if log_ratio is None else self._parts.together(log_ratio).sum(1)

    def _collect(self) -> None:
        """Add the evaluations of the parts since the last call."""
        self._nfe = self._nfe + self._parts.together(self._walk.take_nfe()).sum(1)
