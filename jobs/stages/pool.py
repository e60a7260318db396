"""Many rationales of many questions, drawn once: every flat method at every budget is a function of them.

A method with N rationales sees the first N of a question. Its answers are those of ``jobs.search --stage`` up to the
noise of sampling; here all methods and budgets share their draws, so that differences between them are paired.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, UInt64

from sadt_ray.interfaces import Completions, Problem
from sadt_ray.numerics.rng import derive_seed_grid, derive_seeds, uniforms
from sadt_ray.opentslm.rewards.answers import UNPARSABLE, claimed_answers, prompt_of
from sadt_ray.processes.language.answers import choices_after
from sadt_ray.processes.language.process import CausalLMProcess

_POOL, _ANSWERS = 11, 12  # streams
_ROWS = 512


@dataclass(frozen=True)
class Rationales:
    """N rationales of one question with K answers.

    Attributes:
        problem: that was asked.
        texts: the rationales, up to where an answer begins; whole texts where there is none to choose.
        probabilities: [N, K] of every answer after each; what is missing to one claims none.
        tokens: [N] that were generated before the answer.
        scored: [N] that listing the answers cost.
        said: [K] that saying one answer costs, its end included.
        drawn: [N] one answer for each, drawn with these probabilities: an index, or UNPARSABLE.
    """

    problem: Problem
    texts: np.ndarray
    probabilities: Float[np.ndarray, "N K"]
    tokens: Int[np.ndarray, " N"]
    scored: Int[np.ndarray, " N"]
    said: Int[np.ndarray, " K"]
    drawn: Int[np.ndarray, " N"]


def draw_rationales(
    process: CausalLMProcess, problems: Sequence[Problem], count: int, seed: int = 0
) -> list[Rationales]:
    """``count`` rationales of every problem from the prior, their answers listed."""
    chain = process.with_answers("enumerated").with_branch_steps("none").bind(problems)
    roots = chain.root_states()
    seeds = derive_seed_grid(derive_seeds(seed, _POOL, np.arange(len(problems))), _POOL, count)
    pool = []
    each = max(_ROWS // count, 1)
    for first in range(0, len(problems), each):
        some = np.arange(first, min(first + each, len(problems)))
        problem = np.repeat(some, count)
        path = chain.run_down(roots[problem], np.zeros(len(problem), np.int64), problem, seeds[some].ravel())
        last = np.flatnonzero(path.levels == 1)
        states = np.empty_like(roots[problem])
        states[path.rows[last]] = path.states[last]
        done = chain.complete(states, problem)
        texts = chain.decode(states, problem)
        for place, p in enumerate(some.tolist()):
            rows = slice(place * count, (place + 1) * count)
            said = [len(steps) for steps in choices_after("", prompt_of(problems[p]), chain.texts).steps]
            pool.append(_of_problem(problems[p], rows, done, texts[rows], path.nfe[rows], np.array(said), seeds[p]))
    return pool


def _of_problem(
    problem: Problem,
    rows: slice,
    done: Completions,
    texts: np.ndarray,
    tokens: Int[np.ndarray, " N"],
    said: Int[np.ndarray, " K"],
    seeds: UInt64[np.ndarray, " N"],
) -> Rationales:
    prompt = prompt_of(problem)
    mine = np.flatnonzero((done.rows >= rows.start) & (done.rows < rows.stop))
    claimed = claimed_answers(done.samples[mine], np.zeros(len(mine), np.int64), [prompt])
    table = np.zeros((len(texts), len(prompt.answers) + 1))  # what claims nothing comes last, as UNPARSABLE does
    np.add.at(table, (done.rows[mine] - rows.start, claimed), np.exp(done.log_probs[mine]))
    u = uniforms(seeds, np.full(len(texts), _ANSWERS), 1)
    cumulative = table.cumsum(1)
    drawn = (cumulative < u * cumulative[:, -1:]).sum(1)
    drawn = np.where(drawn == len(prompt.answers), UNPARSABLE, drawn)
    return Rationales(problem, texts, table[:, :-1], tokens, done.nfe[rows], said, drawn)


def tokens_of(rationales: Rationales, n: int, listed: bool) -> float:
    """Of the first n rationales: with all answers listed after each, or with the one that was drawn."""
    drawn = rationales.drawn[:n]
    answers = (
        rationales.scored[:n] if listed else np.where(drawn == UNPARSABLE, 0, np.append(rationales.said, 0)[drawn])
    )
    return float((rationales.tokens[:n] + answers).sum())


def majority(drawn: Int[np.ndarray, " N"], num_answers: int) -> tuple[int, Float[np.ndarray, " K"]]:
    """Self-consistency: the most frequent drawn answer, the first of equals, and the share of each."""
    votes = np.bincount(drawn[drawn != UNPARSABLE], minlength=num_answers) / len(drawn)
    if not votes.any():
        return UNPARSABLE, votes
    tied = np.flatnonzero(votes == votes.max())
    return int(next(k for k in drawn if k in tied)), votes


def weighted_vote(
    probabilities: Float[np.ndarray, "N K"], log_weights: Float[np.ndarray, " K"] | None = None
) -> tuple[int, Float[np.ndarray, " K"]]:
    """The exact-answer vote, mean_i p_i(k), tilted by exp(log_weights_k): S-ADT's answer where the reward is of the
    answer alone. Returns the answer and the marginal."""
    mass = probabilities.mean(0) * (1.0 if log_weights is None else np.exp(log_weights - log_weights.max()))
    total = mass.sum()
    return (int(mass.argmax()), mass / total) if total > 0 else (UNPARSABLE, mass)


def best_of(drawn: Int[np.ndarray, " N"], values: Float[np.ndarray, " K"]) -> int:
    """The first drawn answer of highest reward."""
    parsed = drawn[drawn != UNPARSABLE]
    return int(parsed[values[parsed].argmax()]) if len(parsed) else UNPARSABLE
