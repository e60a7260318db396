"""The entropy of answers along texts, against sums over everything that can be said."""

import numpy as np
import pytest
import torch

pytest.importorskip("transformers")

from tiny_models import ANSWERS, TinyModel, all_texts, gemma, next_token_logits, question

from sadt_ray.processes.language.blocks import Blocks
from sadt_ray.processes.language.entropy import EntropyProfile, entropy_profile
from sadt_ray.processes.language.process import CausalLMProcess

MODEL = TinyModel(gemma())
SPELLED = ((5, 0), (5, 6, 0), (7, 0))
assert ANSWERS == ("walk", "walk_up", "run")


def entropy_after(problem, tokens):
    """Of the answers, when the text announces them right after these tokens."""
    log_probs = []
    for answer in SPELLED:
        said, total = [*tokens, 4], 0.0
        for token in answer:
            total += float(next_token_logits(MODEL, problem, said).log_softmax(-1)[token])
            said.append(token)
        log_probs.append(total)
    probability = torch.tensor(log_probs).softmax(0).numpy()
    return float(-(probability * np.log(probability)).sum())


def test_the_profile_is_the_mean_over_all_texts():
    process = CausalLMProcess(MODEL, max_tokens=4, blocks=Blocks("tokens", 2, 3))
    problem = question("q")
    profile = entropy_profile(process, [problem], num_texts=600)
    law = torch.nn.functional.log_softmax
    texts = all_texts(MODEL, problem, lambda logits: law(logits, -1), 3, marker=4)
    spoken = {text: p for text, p in texts.items() if text[-1] == 4}
    of = {text: entropy_after(problem, text) for text in {text[:-1][:length] for text in spoken for length in range(3)}}
    assert profile.steps.tolist() == [-1, 0, 1, 2, 3]
    for step, entropy in zip(profile.steps, profile.entropy, strict=True):
        length = {-1: 0, 0: 1, 1: 2, 2: 3, 3: 3}[int(step)]
        each = np.array([of[text[:-1][:length]] for text in spoken])
        weights = np.array(list(spoken.values()))
        mean = np.average(each, weights=weights)
        sd = np.sqrt(np.average((each - mean) ** 2, weights=weights))
        assert entropy == pytest.approx(mean, abs=4.5 * sd / np.sqrt(600 * weights.sum()) + 1e-5)
    assert profile.announced == pytest.approx(sum(spoken.values()), abs=0.1)
    assert profile.disagreement[0] == pytest.approx(0, abs=1e-6)  # nothing was said
    assert (profile.disagreement > -1e-9).all()


def test_levels_are_placed_where_texts_decide_differently():
    steps, zero = np.array([-1, 0, 1, 2, 3, 4]), np.zeros(6)

    def placed(disagreement, levels):
        return EntropyProfile(steps, zero, zero, np.array(disagreement), 1.0, 0).branch_steps(levels)

    assert placed([0.0, 0.0, 0.0, 0.8, 0.8, 0.9], 3) == (2, 4)
    assert placed([0.0, 0.0, 0.4, 0.7, 1.0, 1.0], 4) == (1, 2, 3, 4)
    assert placed([0.0] * 6, 4) == (4,)
    assert placed([0.0, 0.1, 1.0, 1.0, 1.0, 1.0], 2) == (1, 4)
    with pytest.raises(ValueError, match="at least 1"):
        placed([1.0] * 6, 0)


def test_a_question_without_answers_has_no_profile():
    process = CausalLMProcess(MODEL, max_tokens=5, blocks=Blocks("tokens", 2, 3))
    with pytest.raises(ValueError, match="announced"):
        entropy_profile(process, [question("q", answers=())])
