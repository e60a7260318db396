"""Methods side by side on joint problems under one coupling."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from jaxtyping import Float

from benchmarks.posterior.comparison import Entrant
from benchmarks.posterior.joint_forecasts import JointScores, JointTarget, coupled_draws, judge
from sadt_ray.api import search
from sadt_ray.interfaces import Problem
from sadt_ray.processes.joint import JointProcess
from sadt_ray.rewards.copula import CopulaReward
from sadt_ray.rewards.coupling import Coupling
from sadt_ray.tree.samples import WeightedSamples


@dataclass
class JointEntry:
    """The result of a method: one score per window; ``rollouts`` and ``nfe`` per window, on average."""

    key: str
    label: str
    scores: list[JointScores] = field(default_factory=list)
    rollouts: float = 0.0
    nfe: float = 0.0

    def column(self, name: str) -> Float[np.ndarray, " windows"]:
        return np.array([getattr(one, name) for one in self.scores])


@dataclass(frozen=True)
class JointTask:
    """Windows under one coupling.

    Attributes:
        pair: two channels whose difference is scored on its own.
        together: windows searched at a time, to limit memory.
    """

    process: JointProcess
    problems: list[Problem]
    coupling: Coupling
    pair: tuple[int, int]
    together: int

    @cached_property
    def targets(self) -> list[JointTarget]:
        return [JointTarget(problem, self.coupling) for problem in self.problems]


def compare_jointly(task: JointTask, entrants: Sequence[Entrant], tell: Callable[[str], None]) -> list[JointEntry]:
    """Every method on every window, and the first one's samples coupled in closed form beside them.

    Those that differ in the draw alone share a search.
    """
    entries = {one.key: JointEntry(one.key, one.label) for one in entrants}
    coupled, waiting = JointEntry("coupled", "prior samples coupled (no search)"), list(entrants)
    while waiting:
        group = [one for one in waiting if waiting[0].method.same_search(one.method)]
        waiting = [one for one in waiting if one not in group]
        for first in range(0, len(task.problems), task.together):
            tell(f"{', '.join(one.label for one in group)}: window {first} of {len(task.problems)}")
            drawn = _searched(task, slice(first, first + task.together), [entries[one.key] for one in group], group)
            if entrants[0] in group:
                coupled.scores += _coupled(task, slice(first, first + task.together), drawn)
    coupled.rollouts, coupled.nfe = entries[entrants[0].key].rollouts, entries[entrants[0].key].nfe
    return [*entries.values(), coupled]


def _searched(
    task: JointTask, part: slice, entries: Sequence[JointEntry], group: Sequence[Entrant]
) -> list[WeightedSamples]:
    """One search of some windows, drawn from by all that share it; returns the first one's samples."""
    problems, targets, count = task.problems[part], task.targets[part], len(task.problems)
    done = search(task.process, problems, CopulaReward(task.coupling), group[0].method)
    for entry, one in zip(entries, group, strict=True):
        drawn = done.samples(one.method.search)
        entry.scores += [judge(found, target, task.pair) for found, target in zip(drawn, targets, strict=True)]
        entry.nfe += float(done.nfe.sum()) / count
        entry.rollouts += float(done.told.sum()) * one.method.smc.particles / count
    return done.samples(group[0].method.search)


def _coupled(task: JointTask, part: slice, drawn: Sequence[WeightedSamples]) -> list[JointScores]:
    """Prior samples, coupled in closed form."""
    problems, targets = task.problems[part], task.targets[part]
    scorer, scores = CopulaReward(task.coupling).bind(problems), []
    for at, (problem, target, found) in enumerate(zip(problems, targets, drawn, strict=True)):
        samples = coupled_draws(problem, task.coupling, found.samples)
        count = len(samples)
        rewards = scorer(samples, np.full(count, at))
        equal = WeightedSamples(samples, np.full(count, 1 / count), rewards, found.nfe_at, np.nan, float(count))
        scores.append(judge(equal, target, task.pair))
    return scores
