"""Log-likelihoods of whole texts, against the network asked token by token."""

import numpy as np
import pytest
from tiny_models import TinyModel, gemma, llama, next_token_logits, question

from sadt_ray.opentslm.rewards.likelihood import LikelihoodReward
from sadt_ray.processes.language import scoring
from sadt_ray.processes.language.branches import Branches
from sadt_ray.processes.language.process import CausalLMProcess
from sadt_ray.processes.language.scoring import TextScoring

TEXTS = {" a b. Answer: walk": (2, 3, 4, 5), " a": (2,), " a a a b. b. Answer: run": (2, 2, 2, 3, 3, 4, 7), "": ()}


def by_hand(model, problem, tokens):
    total = 0.0
    for i, token in enumerate(tokens):
        total += float(next_token_logits(model, problem, tokens[:i]).log_softmax(-1)[token])
    return total


@pytest.mark.parametrize("network", [llama, gemma])
@pytest.mark.parametrize("ends", [True, False])
def test_the_likelihood_of_a_text_is_the_product_over_its_tokens(network, ends):
    model, problem = TinyModel(network()), question(ends=ends)
    score = TextScoring(CausalLMProcess(model, max_tokens=16, rows_at_once=3))  # two batches
    log_probs, tokens = score(problem.conditioning, list(TEXTS))
    said = [(*row, 0) if ends else row for row in TEXTS.values()]
    np.testing.assert_allclose(log_probs, [by_hand(model, problem, row) for row in said], atol=1e-4)
    assert tokens.tolist() == [len(row) for row in said]


def test_a_captions_end_counts_and_every_prompt_is_read_as_itself():
    model = TinyModel(llama())
    problems = [question(name, positions, answers=()) for name, positions in (("p", 3), ("q", 6))]
    reward = LikelihoodReward(TextScoring(CausalLMProcess(model, max_tokens=16)))
    rewards = reward.bind(problems)(np.array([" a", " a", " b."]), np.array([0, 1, 0]))
    pairs = ((0, (2, 0)), (1, (2, 0)), (0, (3, 0)))
    np.testing.assert_allclose(rewards, [by_hand(model, problems[p], row) / 2 for p, row in pairs], atol=1e-4)


def test_no_more_logits_are_held_at_once_than_fit(monkeypatch):
    """A published vocabulary makes 20 GB of the logits of 128 texts of 300 tokens."""
    model, problem, held = TinyModel(llama()), question(), []
    feed = Branches.feed

    def watched(self, *arguments, **keep):
        fed = feed(self, *arguments, **keep)
        held.append(fed.logits.numel())
        return fed

    process, texts = CausalLMProcess(model, max_tokens=16), [*TEXTS, *TEXTS]
    whole = TextScoring(process)(problem.conditioning, texts)[0]
    monkeypatch.setattr(Branches, "feed", watched)
    monkeypatch.setattr(scoring, "LOGITS_AT_ONCE", 3 * 8 * model.network.config.vocab_size)
    np.testing.assert_allclose(TextScoring(process)(problem.conditioning, texts)[0], whole, atol=1e-5)
    assert max(held) <= 3 * 8 * model.network.config.vocab_size
    assert len(held) > 1
