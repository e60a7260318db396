"""The weight of a label-free reward, from validation."""

import numpy as np
import pytest
from stage_questions import LABELS, question

from sadt_ray.opentslm.rewards.agreement import AgreementReward
from sadt_ray.opentslm.rewards.answers import AnswerValues, bind_answers
from sadt_ray.opentslm.rewards.claims import ClaimsReward
from sadt_ray.opentslm.rewards.weight import choose_weight


class Opinion:
    """A reward by a table of its own."""

    oracle = False

    def __init__(self, values):
        self.values = values

    def bind(self, problems):
        return bind_answers(problems, lambda problem: AnswerValues(self.values[problem.name], 0.0), "an opinion")


def world(truth, count=600, seed=0):
    """Gold answers drawn from the vote tilted by ``truth`` times an opinion; sources of three problems each."""
    rng = np.random.default_rng(seed)
    problems, marginals, values = [], {}, {}
    for i in range(count):
        shares, opinion, name = rng.dirichlet([1, 1, 1]), rng.standard_normal(3), str(i)
        tilted = shares * np.exp(truth * opinion)
        problems.append(question(name, LABELS[rng.choice(3, p=tilted / tilted.sum())], source=f"s{i // 3}"))
        marginals[name], values[name] = dict(zip(LABELS, shares, strict=True)), opinion
    return problems, marginals, Opinion(values)


@pytest.mark.parametrize("truth", [1.0, 2.0])
def test_the_weight_that_made_the_answers_is_found(truth):
    chosen = choose_weight(*world(truth))
    assert chosen.weight in (0.75 * truth, truth)
    best = chosen.weights[int(np.argmax(chosen.log_probs))]
    assert best == truth
    at = chosen.weights.index(chosen.weight)
    assert chosen.accuracies[at] > chosen.accuracies[0] + 0.1
    assert chosen.problems == 600


def test_an_opinion_that_knows_nothing_gets_no_weight():
    assert [choose_weight(*world(0.0, 200, seed)).weight for seed in range(5)].count(0.0) >= 4


def test_copies_of_a_problem_make_no_choice_bolder():
    """They are of its source: ten times the problems, but the standard error, and so the weight, stays."""
    problems, marginals, opinion = world(0.3, 60, seed=1)
    once, again = (choose_weight(problems * copies, marginals, opinion) for copies in (1, 10))
    assert again.weight == once.weight
    assert again.log_probs == pytest.approx(once.log_probs)


def test_a_model_that_is_too_sure_of_itself_does_not_hide_a_good_opinion():
    problems, marginals, opinion = world(1.0)
    sure = {}
    for name, marginal in marginals.items():
        shares = np.array(list(marginal.values())) ** 4.0
        sure[name] = dict(zip(LABELS, shares / shares.sum(), strict=True))
    chosen = choose_weight(problems, sure, opinion)
    assert chosen.weight in (3.0, 4.0)  # P^4 exp(4 r) is the truth to the power of four
    assert chosen.temperature == pytest.approx(4.0, rel=0.25)


def test_what_cannot_be_weighed_is_named():
    problems, marginals, opinion = world(1.0, 3)
    with pytest.raises(ValueError, match="got none"):
        choose_weight([], marginals, opinion)
    with pytest.raises(ValueError, match="'0' has no answer marginal"):
        choose_weight(problems, {}, opinion)
    with pytest.raises(ValueError, match="depends on more than the answer"):
        choose_weight(problems, marginals, ClaimsReward())
    with pytest.raises(ValueError, match="'q' has no label"):
        choose_weight([question(label=None)], {"q": {}}, AgreementReward({"q": {}}))
