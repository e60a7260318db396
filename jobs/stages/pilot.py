"""The pilot of a reward that asks what other rationales say: a flat vote, whose tokens are charged to who uses it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from jobs.stages.pool import draw_rationales
from sadt_ray.interfaces import Problem
from sadt_ray.opentslm.rewards.agreement import Marginal
from sadt_ray.processes.language.process import CausalLMProcess

_SEED = 1 << 20  # apart from the searches'


@dataclass(frozen=True)
class Pilot:
    """What it found, by problem name.

    Attributes:
        marginals: of the answers.
        texts: with their log-weights, all alike.
        tokens: that it cost.
    """

    marginals: Mapping[str, Marginal] = field(default_factory=dict)
    texts: Mapping[str, tuple[Sequence[str], Sequence[float]]] = field(default_factory=dict)
    tokens: Mapping[str, int] = field(default_factory=dict)


def run_pilot(process: CausalLMProcess, problems: Sequence[Problem], count: int, seed: int) -> Pilot:
    """``count`` rationales of every problem, their answers listed."""
    pool = draw_rationales(process, problems, count, _SEED + seed)
    marginals, texts, tokens = {}, {}, {}
    for drawn in pool:
        name, answers = drawn.problem.name, drawn.problem.conditioning.answers
        marginals[name] = dict(zip(answers, drawn.probabilities.mean(0).tolist(), strict=True))
        texts[name] = (drawn.texts.tolist(), np.zeros(count).tolist())
        tokens[name] = int(drawn.tokens.sum() + drawn.scored.sum())
    return Pilot(marginals, texts, tokens)
