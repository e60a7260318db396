"""Methods against each other on one stand-in: the same rationales for all, budgets nested, weights from validation.

What every flat method answers with N rationales is a function of the first N of a question (``pool``), so differences
between methods are paired and a budget costs nothing beyond the largest. Trees are searched for real.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float

from sadt_ray.api import search
from sadt_ray.interfaces import Problem, Reward
from sadt_ray.methods import dts
from sadt_ray.opentslm.answers import answered
from sadt_ray.opentslm.model.load import load_opentslm
from sadt_ray.opentslm.parse import MARKER
from sadt_ray.opentslm.pool import Rationales, best_of, draw_rationales, majority, tokens_of, weighted_vote
from sadt_ray.opentslm.questions import spread
from sadt_ray.opentslm.rewards.agreement import Marginal
from sadt_ray.opentslm.rewards.answer_verifier import answer_features, fit_answer_verifier
from sadt_ray.opentslm.rewards.answers import UNPARSABLE, AnswerScorer, AnswerValues, bind_answers, prompt_of
from sadt_ray.opentslm.rewards.format import FormatReward
from sadt_ray.opentslm.rewards.oracle import is_gold
from sadt_ray.opentslm.rewards.spectral_label import SpectralLabelReward
from sadt_ray.opentslm.rewards.templates import (
    LabelTemplates,
    fit_label_templates,
    stage_templates_config,
    template_accuracy,
)
from sadt_ray.opentslm.rewards.verifier import VerifierReward
from sadt_ray.opentslm.rewards.weight import choose_weight
from sadt_ray.opentslm.stage_spec import stage_spec
from sadt_ray.opentslm.stand_in.corpus import Split
from sadt_ray.opentslm.stand_in.library import find_or_train_stand_in, held_out_problems, training_problems
from sadt_ray.processes.language.process import CausalLMProcess, Loader
from sadt_ray.rewards.combine import WeightedSum

_FOLDS = 4
_TRAINING = 1_500  # questions that templates are fitted on


@dataclass(frozen=True)
class Size:
    """How much is asked.

    Attributes:
        test, validation: questions.
        budgets: rationales, ascending; the last is what is drawn.
        pilot: rationales of a validation question.
        trees: budgets that trees are searched with, on the first ``tree_questions`` questions.
    """

    test: int = 200
    validation: int = 120
    budgets: tuple[int, ...] = (4, 8, 16, 32)
    pilot: int = 16
    trees: tuple[int, ...] = (8,)
    tree_questions: int = 100


@dataclass(frozen=True)
class Said:
    """What one method said to n questions.

    Attributes:
        answers: None for none.
        probabilities: of every answer; where a method has none, all on its answer.
        tokens: each question cost.
        oracle: whether it read the gold answers.
    """

    answers: list[str | None]
    probabilities: list[dict[str, float]]
    tokens: Float[np.ndarray, " n"]
    oracle: bool = False


@dataclass
class Contest:
    """One stand-in, asked.

    Attributes:
        problems: the test questions.
        said: by method and budget; trees have answered the first of the questions only.
        weight: of the spectral reward, from validation.
        template_accuracy: on the test questions.
    """

    problems: list[Problem]
    said: dict[tuple[str, int], Said] = field(default_factory=dict)
    weight: float = 0.0
    template_accuracy: float = float("nan")


def stand_in_process(stage: int | str, seed: int, max_tokens: int) -> CausalLMProcess:
    """The stage's stand-in as a prior; trained now if it is not there yet."""
    loader = Loader(load_opentslm, {"source": str(find_or_train_stand_in(stage, seed))})
    return CausalLMProcess(loader, max_tokens=max_tokens)


def hold_contest(stage: int, seed: int, size: Size) -> Contest:
    """Ask a stage's stand-in of one training seed, by every method at every budget."""
    process = stand_in_process(stage, seed, min(stage_spec(stage).max_tokens, 160))
    asked, validation = (spread(held_out_problems(stage, seed, None, part), count) for part, count in _asked(size))
    contest = Contest(asked)
    most = size.budgets[-1]
    pool = draw_rationales(process, asked, most, seed)
    piloted = draw_rationales(process, validation, size.pilot, seed + 1)
    greedy = draw_rationales(process.with_law(sampling_temperature=0.0), asked, 1, seed)
    contest.said["greedy", 1] = _each(greedy, 1, lambda r, n: majority(r.drawn[:n], r.probabilities.shape[1]))
    contest.said["sample", 1] = _each(pool, 1, lambda r, n: majority(r.drawn[:n], r.probabilities.shape[1]))
    templates = _templates(stage, seed, [*asked, *validation])
    contest.template_accuracy = template_accuracy(templates, asked).accuracy
    spectral = SpectralLabelReward(templates)
    chosen = choose_weight(validation, marginals_of(piloted, size.budgets[0]), spectral)
    contest.weight = chosen.weight
    for n in size.budgets:
        _flat(contest, pool, n, spectral, _verified(validation, piloted, min(n, size.pilot), asked, pool, n, templates))
    for n in size.trees:
        _tree(contest, process, n, spectral, size.tree_questions, seed)
    return contest


def _asked(size: Size) -> list[tuple[Split, int]]:
    return [("test", size.test), ("validation", size.validation)]


def marginals_of(pool: Sequence[Rationales], n: int) -> dict[str, Marginal]:
    """The exact-answer vote of the first n rationales, by problem name."""
    return {
        r.problem.name: dict(zip(prompt_of(r.problem).answers, r.probabilities[:n].mean(0).tolist(), strict=True))
        for r in pool
    }


def _flat(
    contest: Contest, pool: Sequence[Rationales], n: int, spectral: Reward, verified: Mapping[str, np.ndarray]
) -> None:
    said = contest.said
    values = tabled(spectral, contest.problems).values
    said["self-consistency", n] = _each(pool, n, lambda r, n: majority(r.drawn[:n], r.probabilities.shape[1]))
    said["answer-vote", n] = _each(pool, n, lambda r, n: weighted_vote(r.probabilities[:n]), listed=True)
    said["best-of-n", n] = _each(pool, n, lambda r, n: _chosen(best_of(r.drawn[:n], values[r.problem.name]), r))

    def tilted(r: Rationales, n: int) -> tuple[int, np.ndarray]:
        return weighted_vote(r.probabilities[:n], contest.weight * values[r.problem.name])

    said["sadt", n] = _each(pool, n, tilted, listed=True)
    said["sadt-verifier", n] = _each(pool, n, lambda r, n: _likeliest(verified[r.problem.name]), listed=True)
    oracle = _each(pool, n, lambda r, n: _chosen(best_of(r.drawn[:n], is_gold(r.problem).astype(float)), r))
    said["best-of-n oracle", n] = replace(oracle, oracle=True)


def _tree(contest: Contest, process: CausalLMProcess, n: int, spectral: Reward, count: int, seed: int) -> None:
    """DTS over sentences, answers listed, at lambda = 1 under the weighted spectral reward."""
    asked = contest.problems[:count]
    reward = WeightedSum((1.0, FormatReward()), (contest.weight, spectral))
    method = dts(n_rollouts=n, seed=seed, at_once=16)
    grown = search(process, asked, reward, method, batch_size=64)
    rows = [
        answered("dts", problem, drawn, n, int(grown.nfe[p]), 0)
        for p, (problem, drawn) in enumerate(zip(asked, grown.samples(), strict=True))
    ]
    contest.said["dts", n] = Said(
        [row.answer for row in rows], [row.probabilities for row in rows], np.array([row.tokens for row in rows], float)
    )


def _each(
    pool: Sequence[Rationales],
    n: int,
    answer: Callable[[Rationales, int], tuple[int, Float[np.ndarray, " K"]]],
    listed: bool = False,
) -> Said:
    """The first n rationales of every question; ``listed``: with the tokens that all answers cost, else with one's."""
    answers: list[str | None] = []
    probabilities, tokens = [], []
    for rationales in pool:
        names = prompt_of(rationales.problem).answers
        best, shares = answer(rationales, n)
        answers.append(None if best == UNPARSABLE else names[best])
        probabilities.append(dict(zip(names, shares.tolist(), strict=True)))
        tokens.append(tokens_of(rationales, n, listed))
    return Said(answers, probabilities, np.array(tokens))


def _chosen(answer: int, rationales: Rationales) -> tuple[int, Float[np.ndarray, " K"]]:
    shares = np.zeros(rationales.probabilities.shape[1])
    if answer != UNPARSABLE:
        shares[answer] = 1.0
    return answer, shares


@dataclass(frozen=True)
class TabledReward:
    """A reward that depends on the answer alone and reads it from a table: ``values`` by problem name."""

    values: Mapping[str, Float[np.ndarray, " K"]]

    oracle = False

    def bind(self, problems: Sequence[Problem]) -> AnswerScorer:
        def of(problem: Problem) -> AnswerValues:
            values = self.values[problem.name]
            return AnswerValues(values, float(values.min()))

        return bind_answers(problems, of, "a table of answers")


def tabled(reward: Reward, problems: Sequence[Problem]) -> TabledReward:
    """Tabulate a reward that depends on the answer alone."""
    texts, owner = bare_answers(problems)
    rewards = np.asarray(reward.bind(problems)(texts, owner), float)
    return TabledReward({problem.name: rewards[owner == p] for p, problem in enumerate(problems)})


def bare_answers(problems: Sequence[Problem]) -> tuple[np.ndarray, np.ndarray]:
    """One text per answer of every problem, without reasons, and the number of its problem."""
    prompts = [prompt_of(problem) for problem in problems]
    texts = [f"{prompt.marker or MARKER} {answer}" for prompt in prompts for answer in prompt.answers]
    return np.array(texts), np.repeat(np.arange(len(prompts)), [len(prompt.answers) for prompt in prompts])


def _templates(stage: int, seed: int, problems: Sequence[Problem]) -> LabelTemplates:
    training = spread(training_problems(stage, seed), _TRAINING)
    return fit_label_templates(training, stage_templates_config(stage, [*training, *problems]))


def _verified(
    validation: Sequence[Problem],
    piloted: Sequence[Rationales],
    most: int,
    asked: Sequence[Problem],
    pool: Sequence[Rationales],
    n: int,
    templates: LabelTemplates,
) -> Mapping[str, Float[np.ndarray, " K"]]:
    """log P(answer) by the verifier, of n rationales of every question.

    It is learned from as many of validation questions: of its training questions a stand-in is too sure.
    """
    learned = fit_answer_verifier(validation, marginals_of(piloted, most), templates, _FOLDS)
    features = answer_features(marginals_of(pool, n), templates, learned.claims)
    return tabled(VerifierReward(learned, features), asked).values


def _likeliest(log_probs: Float[np.ndarray, " K"]) -> tuple[int, Float[np.ndarray, " K"]]:
    shares = np.exp(log_probs - log_probs.max())
    return int(shares.argmax()), shares / shares.sum()
