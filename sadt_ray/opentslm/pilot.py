"""A pilot: a few rationales per question, drawn before the search, for rewards that compare with other rationales."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from sadt_ray.interfaces import Problem
from sadt_ray.opentslm.pool import draw_rationales
from sadt_ray.opentslm.rewards.agreement import Marginal
from sadt_ray.processes.language.process import CausalLMProcess

_SEED = 1 << 20  # keeps its random numbers apart from those of searches


@dataclass(frozen=True)
class Pilot:
    """What a pilot found, by problem name.

    Attributes:
        marginals: probability of each answer.
        texts: the texts and their log-weights, all 0.
        tokens: number of tokens evaluated; rewarded methods are charged for them.
    """

    marginals: Mapping[str, Marginal] = field(default_factory=dict)
    texts: Mapping[str, tuple[Sequence[str], Sequence[float]]] = field(default_factory=dict)
    tokens: Mapping[str, int] = field(default_factory=dict)


def run_pilot(process: CausalLMProcess, problems: Sequence[Problem], count: int, seed: int) -> Pilot:
    """Draw ``count`` rationales per problem and enumerate their answers."""
    pool = draw_rationales(process, problems, count, _SEED + seed)
    marginals, texts, tokens = {}, {}, {}
    for drawn in pool:
        name, answers = drawn.problem.name, drawn.problem.conditioning.answers
        marginals[name] = dict(zip(answers, drawn.probabilities.mean(0).tolist(), strict=True))
        texts[name] = (drawn.texts.tolist(), np.zeros(count).tolist())
        tokens[name] = int(drawn.tokens.sum() + drawn.scored.sum())
    return Pilot(marginals, texts, tokens)
