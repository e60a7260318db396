"""Several independent chains as one process: the prior of a joint problem, such as all channels of a window.

    p(x | c) = prod_k p(x_k | c_k)

A channel-independent forecaster has no dependence between channels. A reward that scores the dependence needs all
channels in one sample. A sample of this process is such a stack [C, ...]. The parts step together, each part has its
own noise, and every evaluation of a part counts. Searches, particle systems, proposals and look-aheads use it like any
other process.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt64

from sadt_ray.interfaces import Chain, GenerativeProcess, MovesToDevice, PredictsClean, Problem, Scale, States, Step
from sadt_ray.processes.joint_walk import JointWalk, Parts
from sadt_ray.processes.walk import KnowsLaw, KnowsResiduals, can_choose, level_positions, supports_guidance, walk_from


def joint_problem(name: str, parts: Sequence[Problem]) -> Problem:
    """Make one problem from C parts. Its sample [C, ...] holds a sample of each part, in their order.

    Context and truth are the stacked contexts and truths of the parts, ``scale`` holds the channels of all of them, and
    ``time`` is theirs if it is the same. ``extras["parts"]`` holds the parts themselves.
    Raises ValueError if there are no parts, or if their contexts differ in shape.
    """
    shapes = {np.shape(part.context) for part in parts}
    if len(shapes) != 1:
        raise ValueError(f"joint problem {name!r} needs parts with contexts of one shape, got {sorted(shapes)}")
    truths = [part.truth for part in parts if part.truth is not None]
    return Problem(
        name=name,
        context=np.stack([part.context for part in parts]),
        truth=np.stack(truths) if len(truths) == len(parts) else None,
        extras={"parts": tuple(parts)},
        time=parts[0].time if all(part.time == parts[0].time for part in parts) else None,
        scale=_joint_scale([part.scale for part in parts]),
    )


def _joint_scale(scales: Sequence[Scale]) -> Scale:
    """The channels of all parts; names that occur twice become x1 .. xC. The unit is theirs if it is the same."""
    names = tuple(channel for scale in scales for channel in scale.channels)
    if len(set(names)) < len(names):
        names = tuple(f"x{number}" for number in range(1, len(names) + 1))
    units = {scale.unit for scale in scales}
    return Scale(
        mean=tuple(mean for scale in scales for mean in scale.mean),
        std=tuple(std for scale in scales for std in scale.std),
        channels=names,
        unit=units.pop() if len(units) == 1 else "",
    )


class JointProcess:
    """The ``GenerativeProcess`` of C independent parts. A state is [C, *state shape of a part].

    Args:
        process: process of every part. Its rows must reach x_0 after the same number of levels, as in a diffusion.
        num_parts: number of parts C, the same for all problems.

    Raises ValueError if ``num_parts`` is less than 1.
    """

    def __init__(self, process: GenerativeProcess, num_parts: int) -> None:
        if num_parts < 1:
            raise ValueError(f"num_parts is {num_parts}; a joint process needs at least one")
        self.process, self.num_parts = process, num_parts

    @property
    def num_levels(self) -> int:
        return self.process.num_levels

    @property
    def state_shape(self) -> tuple[int, ...]:
        return (self.num_parts, *self.process.state_shape)

    @property
    def state_dtype(self) -> np.dtype:
        return self.process.state_dtype

    def with_branch_steps(self, branch_steps: Sequence[int] | str) -> JointProcess:
        """Return the same prior with other branch levels."""
        return JointProcess(self.process.with_branch_steps(branch_steps), self.num_parts)

    def with_device(self, device: str) -> JointProcess:
        """Return the same prior on another device. Raises ValueError if the process of the parts cannot move."""
        if not isinstance(self.process, MovesToDevice):
            raise ValueError(f"{type(self.process).__name__} cannot move to device {device!r}")
        return JointProcess(self.process.with_device(device), self.num_parts)

    def bind(self, problems: Sequence[Problem]) -> JointChain:
        """Bind all parts, once. Raises ValueError with the name of a problem that has another number of parts."""
        for problem in problems:
            given = len(problem.extras.get("parts", ()))
            if given != self.num_parts:
                raise ValueError(
                    f"problem {problem.name!r} has {given} parts, but the process takes {self.num_parts}; make the "
                    "problem with joint_problem"
                )
        parts = [part for problem in problems for part in problem.extras["parts"]]
        return JointChain(self.process.bind(parts), Parts(self.num_parts), self.num_levels, parts)


class JointChain:
    """A joint process bound to problems. The seed of part k of row b is derived from the seed of row b.

    ``predict_clean`` and ``residuals`` raise ValueError if the chain of the parts does not have them.
    """

    def __init__(self, chain: Chain, parts: Parts, num_levels: int, problems: Sequence[Problem]) -> None:
        self.chain, self._parts, self._num_levels = chain, parts, num_levels
        self._names = [problem.name for problem in problems]

    @property
    def num_parts(self) -> int:
        """Number of parts C. The parts of problem p are the problems p C to p C + C - 1 of ``chain``."""
        return self._parts.count

    def with_chain(self, chain: Chain) -> JointChain:
        """The same joint problems with another chain of the parts."""
        joined = copy(self)
        joined.chain = chain
        return joined

    def root_states(self) -> States:
        return self._parts.together(self.chain.root_states())

    def advance(
        self,
        states: States,
        levels: Int[np.ndarray, " B"],
        problem: Int[np.ndarray, " B"],
        seeds: UInt64[np.ndarray, " B"],
    ) -> Step:
        """Move every part to its next level. Raises ValueError if a part ends before the others."""
        parts = self._parts
        step = self.chain.advance(
            parts.apart(states), parts.repeat(levels), parts.of_problem(problem), parts.seeds(seeds)
        )
        reached = parts.together(step.levels)
        if np.any(reached != reached[:, :1]):
            raise ValueError(
                "a part of a joint chain ended before the others; use a process whose rows end at the same level"
            )
        return Step(parts.together(step.states), reached[:, 0], parts.together(step.nfe).sum(1))

    def decode(self, states: States, problem: Int[np.ndarray, " B"]) -> np.ndarray:
        """Samples [B, C, ...]."""
        return self._parts.together(self.chain.decode(self._parts.apart(states), self._parts.of_problem(problem)))

    def features(
        self, states: States, levels: Int[np.ndarray, " B"], problem: Int[np.ndarray, " B"]
    ) -> Float[np.ndarray, "B F"]:
        """Features of the parts, concatenated."""
        parts = self._parts
        known = self.chain.features(parts.apart(states), parts.repeat(levels), parts.of_problem(problem))
        return known.reshape(len(states), -1)

    def predict_clean(self, states: States, levels: Int[np.ndarray, " B"], problem: Int[np.ndarray, " B"]) -> States:
        """x0_hat of all parts. Costs one evaluation per part."""
        parts = self._parts
        if not isinstance(self.chain, PredictsClean):
            raise ValueError(f"{type(self.chain).__name__} cannot predict x0_hat")
        clean = self.chain.predict_clean(parts.apart(states), parts.repeat(levels), parts.of_problem(problem))
        return parts.together(clean)

    def residuals(self, position: int, count: int) -> Float[np.ndarray, "P count C T"]:
        """Draws of x_0 - x0_hat, stacked over the parts.

        ``DiffusionChain.residuals`` uses the same noise for every part. Parts are independent, so the draws of each
        part are shuffled before they are stacked.
        """
        if not isinstance(self.chain, KnowsResiduals):
            raise ValueError(f"{type(self.chain).__name__} does not know the distribution of x_0 about x0_hat")
        draws = self._parts.together(self.chain.residuals(position, count))  # [P, C, count, T]
        shuffled = [draws[:, part, np.random.default_rng(part).permutation(count)] for part in range(self._parts.count)]
        return np.stack(shuffled, axis=2)

    @property
    def level_positions(self) -> Int[np.ndarray, " levels"]:
        return level_positions(self.chain, self._num_levels)

    @property
    def supports_guidance(self) -> bool:
        return supports_guidance(self.chain)

    @property
    def knows_law(self) -> bool:
        return isinstance(self.chain, KnowsLaw) and self.chain.knows_law

    @property
    def decodes_affinely(self) -> bool:
        return not isinstance(self.chain, KnowsLaw) or self.chain.decodes_affinely

    @property
    def can_choose(self) -> bool:
        return can_choose(self.chain)

    def walk(self, states: States, position: int, problem: Int[np.ndarray, " B"]) -> JointWalk:
        parts = self._parts
        walk = walk_from(self.chain, parts.apart(states), position, parts.of_problem(problem))
        return JointWalk(walk, parts, problem)

    def relative_cost(self, multiply_adds: int) -> float:
        """Cost of a look at a joint x0_hat, in evaluations of one part."""
        cost: Any = getattr(self.chain, "relative_cost", lambda _: 0.0)
        return self._parts.count * cost(multiply_adds / self._parts.count)
