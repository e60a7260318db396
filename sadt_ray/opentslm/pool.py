"""A pool of rationales per question, drawn once, from which each flat method at each budget can be computed.

A method with N rationales uses the first N of a question. Its answers equal those of a search up to the noise of
sampling. Here all methods and budgets share their draws, so that differences between them are paired.
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
        problem: the question.
        texts: [N] rationales up to where the answer begins; whole texts if the question has no answers to choose from.
        probabilities: [N, K] probability of each answer after each rationale; the rest, up to 1, claims no answer.
        tokens: [N] tokens generated before the answer.
        scored: [N] tokens evaluated to enumerate the answers.
        said: [K] tokens of each answer, the end of the text included.
        drawn: [N] one answer per rationale, drawn with these probabilities: an index, or UNPARSABLE.
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
    """Draw ``count`` rationales per problem from the prior and enumerate their answers."""
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
    table = np.zeros((len(texts), len(prompt.answers) + 1))  # the last column claims no answer; UNPARSABLE indexes it
    np.add.at(table, (done.rows[mine] - rows.start, claimed), np.exp(done.log_probs[mine]))
    u = uniforms(seeds, np.full(len(texts), _ANSWERS), 1)
    cumulative = table.cumsum(1)
    drawn = (cumulative < u * cumulative[:, -1:]).sum(1)
    drawn = np.where(drawn == len(prompt.answers), UNPARSABLE, drawn)
    return Rationales(problem, texts, table[:, :-1], tokens, done.nfe[rows], said, drawn)


def tokens_of(rationales: Rationales, n: int, enumerated: bool) -> float:
    """Cost of the first n rationales in tokens.

    Args:
        enumerated: whether all answers are enumerated after each rationale; otherwise only the drawn one is generated.
    """
    drawn = rationales.drawn[:n]
    answers = (
        rationales.scored[:n] if enumerated else np.where(drawn == UNPARSABLE, 0, np.append(rationales.said, 0)[drawn])
    )
    return float((rationales.tokens[:n] + answers).sum())


def majority(drawn: Int[np.ndarray, " N"], num_answers: int) -> tuple[int, Float[np.ndarray, " K"]]:
    """Self-consistency: the most frequent drawn answer, on ties the one drawn first, and the share of each answer."""
    votes = np.bincount(drawn[drawn != UNPARSABLE], minlength=num_answers) / len(drawn)
    if not votes.any():
        return UNPARSABLE, votes
    tied = np.flatnonzero(votes == votes.max())
    return int(next(k for k in drawn if k in tied)), votes


def weighted_vote(
    probabilities: Float[np.ndarray, "N K"], log_weights: Float[np.ndarray, " K"] | None = None
) -> tuple[int, Float[np.ndarray, " K"]]:
    """The exact-answer vote mean_i p_i(k), tilted by exp(log_weights_k). It is the answer of S-ADT for a reward that
    depends on the answer alone. Returns the answer and the marginal."""
    mass = probabilities.mean(0) * (1.0 if log_weights is None else np.exp(log_weights - log_weights.max()))
    total = mass.sum()
    return (int(mass.argmax()), mass / total) if total > 0 else (UNPARSABLE, mass)


def best_of(drawn: Int[np.ndarray, " N"], values: Float[np.ndarray, " K"]) -> int:
    """The drawn answer with the highest reward, on ties the one drawn first."""
    parsed = drawn[drawn != UNPARSABLE]
    return int(parsed[values[parsed].argmax()]) if len(parsed) else UNPARSABLE
