"""Where in a text its answer is decided, and whether a search below the first sentence is worth its tokens there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float

from benchmarks import BenchResult
from benchmarks.stage_contests.contest import stand_in_process
from sadt_ray.api import search
from sadt_ray.interfaces import Problem
from sadt_ray.methods import Method, dts, snis
from sadt_ray.metrics.clustered import clustered_mean, paired_difference
from sadt_ray.opentslm.answers import answered
from sadt_ray.opentslm.questions import spread
from sadt_ray.opentslm.rewards.answers import source_of
from sadt_ray.opentslm.stage_spec import STAGES
from sadt_ray.opentslm.stand_in.early_claims import ClaimsReward, early_claims_problems
from sadt_ray.opentslm.stand_in.library import EARLY_CLAIMS, held_out_problems
from sadt_ray.processes.language.entropy import EntropyProfile, entropy_profile
from sadt_ray.processes.language.process import CausalLMProcess

QUESTION = "Does a tree beat independent texts at equal tokens, where early claims decide the answer?"

LAMBDA = 12.0
"""Of the claims reward: a claim that is true is worth 4 nats, more than the odds of log 18 against all three."""
_STAGES = (3, 4, 5)  # with reasons before the answer; stage 1 has none, stage 2 has no answer
_MAX_TOKENS = 160


def run(quick: bool) -> BenchResult:
    count, budgets, profiled = (24, (8, 16), ()) if quick else (240, (8, 16, 32, 64), _STAGES)
    process = stand_in_process(EARLY_CLAIMS, 0, 48)
    problems = early_claims_problems(0, count)
    profile = entropy_profile(process, problems[: min(count, 48)])
    rows: list[dict[str, object]] = []
    figures: dict[str, float] = {}
    for budget in budgets:
        rows += _compared(process, problems, budget, profile.branch_steps(4), figures)
    profiles = {EARLY_CLAIMS: profile}
    for stage in profiled:
        asked = spread(held_out_problems(stage, 0), 48)
        profiles[STAGES[stage].name] = entropy_profile(stand_in_process(stage, 0, _MAX_TOKENS), asked)
    notes = [
        "SYNTHETIC: the prior was made so that three early claims decide the answer; the reward reads the series, "
        f"never the answer. lambda {LAMBDA:g}. flat: independent texts, answers listed, weighted; deep: DTS that "
        f"branches at steps {profile.branch_steps(4)}, which the entropy profile chose. Both stop at the same tokens.",
        *(_described(name, found, figures) for name, found in profiles.items()),
    ]
    return BenchResult(rows, figures, notes)


def _compared(
    process: CausalLMProcess,
    problems: Sequence[Problem],
    budget: int,
    branch_steps: tuple[int, ...],
    figures: dict[str, float],
) -> list[dict[str, object]]:
    """Flat search with ``budget`` texts, and a tree that may spend the same tokens."""
    flat_right, flat_mass, flat_tokens = _asked(process, problems, snis(n_rollouts=budget, inv_temperature=LAMBDA))
    deep = dts(
        n_rollouts=None, max_nfe=int(flat_tokens.mean()), branch_steps=branch_steps, inv_temperature=LAMBDA,
        selection_inv_temperature=LAMBDA / 2, widen_c=1.0, widen_alpha=0.6,
    )  # fmt: skip
    deep_right, deep_mass, deep_tokens = _asked(process, problems, deep)
    sources = [source_of(problem) for problem in problems]
    gain = paired_difference(deep_right, flat_right, sources)
    figures[f"deep_minus_flat_{budget}"], figures[f"deep_minus_flat_{budget}_se"] = gain.value, gain.standard_error
    return [
        {
            "texts": budget, "method": name, "tokens": float(tokens.mean()), "accuracy": float(right.mean()),
            "accuracy_se": clustered_mean(right, sources).standard_error, "p(gold)": float(mass.mean()),
        }
        for name, right, mass, tokens in (
            ("flat", flat_right, flat_mass, flat_tokens), ("deep", deep_right, deep_mass, deep_tokens),
        )
    ]  # fmt: skip


def _asked(
    process: CausalLMProcess, problems: Sequence[Problem], method: Method
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Whether each answer is right, the probability of the right one, and the tokens."""
    grown = search(
        process, problems, ClaimsReward(), replace(method, search=replace(method.search, at_once=32)), batch_size=32
    )
    said = [
        answered(method.name, problem, drawn, 0, int(grown.nfe[p]), 0)
        for p, (problem, drawn) in enumerate(zip(problems, grown.samples(), strict=True))
    ]
    right = np.array([row.answer == row.label for row in said], float)
    return (
        right,
        np.array([row.probabilities[str(row.label)] for row in said]),
        np.array([r.tokens for r in said], float),
    )


def _described(name: str, profile: EntropyProfile, figures: dict[str, float]) -> str:
    """One line about the profile; adds its values to ``figures``."""
    for step, entropy in zip(profile.steps, profile.entropy, strict=True):
        figures[f"{name.replace('-', '_')}_entropy_{'root' if step < 0 else step}"] = float(entropy)
    steps = ", ".join(
        f"{'root' if step < 0 else step} {entropy:.2f} (texts disagree {apart:.2f})"
        for step, entropy, apart in zip(profile.steps, profile.entropy, profile.disagreement, strict=True)
    )
    return f"{name}: H(answer | text so far), nats, by step: {steps}."
