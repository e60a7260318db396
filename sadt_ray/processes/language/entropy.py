"""Where in a text its answer is decided: H(answer | text so far), and the branch steps that follow from it.

A text is cut at a step of its chain and made to announce its answer there; the answers are enumerated: p(a | cut text).

    entropy       E H(p(. | cut text)),                    what is still undecided at the cut
    disagreement  E [H(mean_texts p) - mean_texts H(p)],   what the texts of one question have decided differently

A search over texts can only choose among what they have decided differently. If the entropy falls at the answer itself
and the texts agree before it, no search can beat a flat vote with enumerated answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.special import logsumexp

from sadt_ray.interfaces import Problem
from sadt_ray.numerics.rng import derive_seeds
from sadt_ray.processes.language.chain import TextChain
from sadt_ray.processes.language.drawing import Row
from sadt_ray.processes.language.process import CausalLMProcess

_DECIDES = 1e-3  # nats; a smaller disagreement does not justify a level


@dataclass(frozen=True)
class EntropyProfile:
    """Means over questions, in nats.

    Attributes:
        steps: steps of the chain (``Blocks``); -1 is the root, the last is the whole text.
        entropy, entropy_se: entropy of the answer at each step, and its standard error over questions.
        disagreement: disagreement between the texts of one question at each step.
        announced: share of the texts that announced an answer; the others are left out.
        nfe: number of tokens drawn and scored.
    """

    steps: Int[np.ndarray, " S"]
    entropy: Float[np.ndarray, " S"]
    entropy_se: Float[np.ndarray, " S"]
    disagreement: Float[np.ndarray, " S"]
    announced: float
    nfe: int

    def branch_steps(self, levels: int) -> tuple[int, ...]:
        """Branch steps for ``levels`` levels, each with an equal part of the disagreement; x_0 is last.

        The disagreement counts, not the entropy: a text that is cut early and made to answer may be certain of an
        answer that it would not have given. There are fewer levels if little is decided, and x_0 alone if nothing is.
        Raises ValueError for no level.
        """
        if levels < 1:
            raise ValueError(f"there must be at least 1 level, because x_0 is one; got {levels}")
        last = int(self.steps[-1])
        decided = np.maximum.accumulate(self.disagreement) - self.disagreement[0]
        if decided[-1] < _DECIDES:
            return (last,)
        wanted = decided[-1] * np.arange(1, levels) / levels
        chosen = self.steps[np.searchsorted(decided, wanted)]
        return tuple(sorted({int(step) for step in chosen if step >= 0} | {last}))


def entropy_profile(
    process: CausalLMProcess, problems: Sequence[Problem], num_texts: int = 4, seed: int = 0
) -> EntropyProfile:
    """Draw ``num_texts`` texts per problem and enumerate the answers at each step.

    Raises:
        ValueError: if no text announces an answer, for example because the prompts have no answers.
    """
    chain = process.with_answers("enumerated").with_branch_steps("none").bind(problems)
    problem = np.repeat(np.arange(len(problems)), num_texts)
    states = chain.root_states()[problem]
    start, stop = np.full(len(problem), -1), np.full(len(problem), process.blocks.count)
    rows = chain.draw(states, problem, derive_seeds(seed, 0, np.arange(len(problem))), start, stop)
    drawn = int(chain.drawn(states, rows).sum())
    spoken = [row for row in rows if chain.tail(row.problem, row.text) is not None]
    if not spoken:
        raise ValueError("no text announced an answer, so there is no entropy of answers; allow longer texts")
    of = np.array([row.problem for row in spoken])
    steps = np.array([-1, *process.blocks.steps])
    entropy, disagreement, nfe = [], [], 0
    for step in steps.tolist():
        probability, cost = _answers(chain, spoken, of, step)
        own = _entropy(probability)
        groups = [np.flatnonzero(of == p) for p in np.unique(of)]
        entropy.append([own[group].mean() for group in groups])
        disagreement.append(np.mean([_entropy(probability[g].mean(0)) - own[g].mean() for g in groups]))
        nfe += cost
    table = np.array(entropy)
    error = table.std(1, ddof=1) / np.sqrt(table.shape[1]) if table.shape[1] > 1 else np.full(len(steps), np.nan)
    return EntropyProfile(steps, table.mean(1), error, np.array(disagreement), len(spoken) / len(rows), drawn + nfe)


def _answers(
    chain: TextChain, rows: Sequence[Row], of: Int[np.ndarray, " n"], step: int
) -> tuple[Float[np.ndarray, "n A"], int]:
    """p(answer | text cut at the step), normalised over the answers, and the number of tokens scored."""
    states = np.stack([_cut(chain, row, step) for row in rows])
    said, listed = chain.decode(states, of), chain.complete(states, of)
    most = max(len(prompt.answers) for prompt in chain.prompts)
    log_probs = np.full((len(rows), most), -np.inf)
    for row, sample, log_prob in zip(listed.rows, listed.samples, listed.log_probs, strict=True):
        answer = sample[len(said[row]) :].strip()
        if answer:
            log_probs[row, chain.prompts[of[row]].answers.index(answer)] = log_prob
    log_total = logsumexp(log_probs, axis=1, keepdims=True)
    known = np.isfinite(log_total)
    uniform = np.full_like(log_probs, 1 / most)  # no answer has a probability: nothing is decided
    return np.where(known, np.exp(log_probs - np.where(known, log_total, 0.0)), uniform), int(listed.nfe.sum())


def _cut(chain: TextChain, row: Row, step: int) -> np.ndarray:
    """The text up to a step, followed by its own announcement; the whole text if it ended before."""
    lengths = dict([(-1, 0), *row.marks])
    length = lengths.get(step, len(row.tokens))
    announced = len(row.tokens)
    while chain.tail(row.problem, chain.texts.said(row.tokens[announced:])) is None:
        announced -= 1
    tokens = [*row.tokens[: min(length, announced)], *row.tokens[announced:]]
    return chain.state_of(tokens)


def _entropy(probability: Float[np.ndarray, "*n A"]) -> Float[np.ndarray, "*n"]:
    return -np.sum(probability * np.log(np.where(probability > 0, probability, 1.0)), axis=-1)
